//! Orphaned mounts: the agent unmounts those of deleted pods, and only those.

use std::time::Duration;

use crate::fixture::{Fixture, GROUP, SCAN_INTERVAL};

/// Enough time for an agent to do something that it should not.
pub(crate) const QUIET_PERIOD: Duration = Duration::from_secs(4 * SCAN_INTERVAL.as_secs());

/// Returns the folder of a pod's volume, of one driver.
pub(crate) fn folder(pod: &str, driver: &str) -> String {
    format!("/var/lib/kubelet/pods/{pod}/volumes/{driver}/data")
}

/// Mounts a volume as the driver would.
pub(crate) fn mount(fixture: &Fixture, volume: &str, folder: &str) {
    fixture.shell(&format!(
        "mkdir -p {folder}; mount /dev/{GROUP}/{volume} {folder}"
    ));
}

pub(crate) fn is_mounted(fixture: &Fixture, folder: &str) -> bool {
    fixture.shell(&format!(
        "findmnt -rn {folder} >/dev/null && echo yes || true"
    )) == "yes"
}

pub(crate) fn is_cleared(fixture: &Fixture, folder: &str) {
    fixture.wait_for_script(
        "its mount is removed",
        &format!("test ! -e {folder} && test -d $(dirname {folder})"),
    );
}

pub(crate) fn only_orphaned_mounts_are_unmounted(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let other = fixture.volume("64Mi");
    fixture.shell(&format!(
        "for lv in {name} {other}; do mkfs.ext4 -q /dev/{GROUP}/$lv 60M; done"
    ));
    // Without a pod of this node the agent would treat the folders as another kubelet's.
    fixture.pod("neighbour");
    let pod = fixture.pod("app");
    let [own, gone] = [&pod, "0d0d-gone"].map(|pod| folder(pod, "flexlvm.dev~lvm"));
    let foreign = folder("0d0d-gone", "example.com~lvm");
    let shared = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/data";
    mount(fixture, &name, &gone);
    for folder in [own.as_str(), &foreign, shared, "/mnt"] {
        mount(fixture, &other, folder);
    }
    fixture.shell(&format!("echo data >{own}/file"));
    is_cleared(fixture, &gone);
    std::thread::sleep(QUIET_PERIOD);
    for folder in [own.as_str(), &foreign, shared, "/mnt"] {
        assert!(
            is_mounted(fixture, folder),
            "{folder} is not mounted any more"
        );
    }
    assert_eq!(fixture.shell(&format!("cat {own}/file")), "data");
    // No object needs the volume any more.
    fixture.remove(&name);

    // The state after a forced deletion of the pod.
    fixture.delete_pod("app");
    is_cleared(fixture, &own);
    fixture.shell(&format!(
        "umount {foreign} {shared} /mnt; rm -r /var/lib/kubelet/pods/0d0d-gone {shared}"
    ));
    fixture.delete_pod("neighbour");
    fixture.remove(&other);
}

pub(crate) fn mount_used_by_process_is_not_orphaned(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!("mkfs.ext4 -q /dev/{GROUP}/{name} 60M"));
    fixture.pod("neighbour");
    let gone = folder("0e0e-gone", "flexlvm.dev~lvm");
    mount(fixture, &name, &gone);
    // First a container of any pod; then a process in the cgroup of a pod whose containers have no
    // volume, as between two starts.
    let container = format!(
        "unshare --mount --propagation private sh -c 'mount --bind {gone} /mnt; umount {gone}; exec sleep 1000'"
    );
    let sandbox = "sh -c 'mkdir -p /sys/fs/cgroup/kubepods/pod0e0e-gone; echo $$ >/sys/fs/cgroup/kubepods/pod0e0e-gone/cgroup.procs; exec sleep 1000'";
    for process in [container.as_str(), sandbox] {
        fixture.shell(&format!(
            "setsid {process} >/dev/null 2>&1 </dev/null & echo $! >/run/process"
        ));
        std::thread::sleep(QUIET_PERIOD);
        assert!(is_mounted(fixture, &gone), "unmounted under {process}");
        if process == sandbox {
            // A service that shares the node's mounts does not block unmounting.
            fixture.shell("setsid unshare --mount --propagation slave sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >/run/service");
        }
        // The process may be a child of setsid.
        fixture.shell("pkill -g $(cat /run/process) || kill $(cat /run/process)");
    }
    is_cleared(fixture, &gone);
    fixture.shell("kill $(cat /run/service); rmdir /sys/fs/cgroup/kubepods/pod0e0e-gone /sys/fs/cgroup/kubepods; rm -r /var/lib/kubelet/pods/0e0e-gone");
    fixture.delete_pod("neighbour");
    fixture.remove(&name);
}
