//! Mounts that nobody is there to unmount: the agent clears those of pods that are gone, and only
//! those.

use std::time::Duration;

use crate::stage::{GROUP, LOOK_EVERY, Stage};

/// Enough for an agent to do what it should not.
pub(crate) const LOOKS: Duration = Duration::from_secs(4 * LOOK_EVERY.as_secs());

/// The folder of a pod's volume, of one driver.
pub(crate) fn folder(pod: &str, driver: &str) -> String {
    format!("/var/lib/kubelet/pods/{pod}/volumes/{driver}/data")
}

/// Mounts a volume as the driver would.
pub(crate) fn mount(stage: &Stage, volume: &str, folder: &str) {
    stage.shell(&format!(
        "mkdir -p {folder}; mount /dev/{GROUP}/{volume} {folder}"
    ));
}

pub(crate) fn is_mounted(stage: &Stage, folder: &str) -> bool {
    stage.shell(&format!(
        "findmnt -rn {folder} >/dev/null && echo yes || true"
    )) == "yes"
}

pub(crate) fn is_cleared(stage: &Stage, folder: &str) {
    stage.comes_true(
        "its mount is cleared",
        &format!("test ! -e {folder} && test -d $(dirname {folder})"),
    );
}

pub(crate) fn a_forgotten_mount_is_cleared_and_no_other(stage: &Stage) {
    let name = stage.volume("64Mi");
    let other = stage.volume("64Mi");
    stage.shell(&format!(
        "for lv in {name} {other}; do mkfs.ext4 -q /dev/{GROUP}/$lv 60M; done"
    ));
    // Without a pod of this node the folders would be another kubelet's.
    stage.pod("neighbour");
    let pod = stage.pod("app");
    let [own, gone] = [&pod, "0d0d-gone"].map(|pod| folder(pod, "flexlvm.dev~lvm"));
    let foreign = folder("0d0d-gone", "example.com~lvm");
    let shared = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/data";
    mount(stage, &name, &gone);
    for folder in [own.as_str(), &foreign, shared, "/mnt"] {
        mount(stage, &other, folder);
    }
    stage.shell(&format!("echo data >{own}/file"));
    is_cleared(stage, &gone);
    std::thread::sleep(LOOKS);
    for folder in [own.as_str(), &foreign, shared, "/mnt"] {
        assert!(
            is_mounted(stage, folder),
            "{folder} is not mounted any more"
        );
    }
    assert_eq!(stage.shell(&format!("cat {own}/file")), "data");
    // Nobody waits for the volume any more.
    stage.remove(&name);

    // The pod goes, as a force-deleted one does.
    stage.delete_pod("app");
    is_cleared(stage, &own);
    stage.shell(&format!(
        "umount {foreign} {shared} /mnt; rm -r /var/lib/kubelet/pods/0d0d-gone {shared}"
    ));
    stage.delete_pod("neighbour");
    stage.remove(&other);
}

pub(crate) fn what_a_process_still_uses_is_not_forgotten(stage: &Stage) {
    let name = stage.volume("64Mi");
    stage.shell(&format!("mkfs.ext4 -q /dev/{GROUP}/{name} 60M"));
    stage.pod("neighbour");
    let gone = folder("0e0e-gone", "flexlvm.dev~lvm");
    mount(stage, &name, &gone);
    // A container of whichever pod; and then one of a pod whose containers have no volume, as
    // between two starts.
    let container = format!(
        "unshare --mount --propagation private sh -c 'mount --bind {gone} /mnt; umount {gone}; exec sleep 1000'"
    );
    let sandbox = "sh -c 'mkdir -p /sys/fs/cgroup/kubepods/pod0e0e-gone; echo $$ >/sys/fs/cgroup/kubepods/pod0e0e-gone/cgroup.procs; exec sleep 1000'";
    for process in [container.as_str(), sandbox] {
        stage.shell(&format!(
            "setsid {process} >/dev/null 2>&1 </dev/null & echo $! >/run/process"
        ));
        std::thread::sleep(LOOKS);
        assert!(is_mounted(stage, &gone), "unmounted under {process}");
        if process == sandbox {
            // A service that sees the node's mounts keeps nobody from unmounting them.
            stage.shell("setsid unshare --mount --propagation slave sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >/run/service");
        }
        // What is started by setsid may be its child.
        stage.shell("pkill -g $(cat /run/process) || kill $(cat /run/process)");
    }
    is_cleared(stage, &gone);
    stage.shell("kill $(cat /run/service); rmdir /sys/fs/cgroup/kubepods/pod0e0e-gone /sys/fs/cgroup/kubepods; rm -r /var/lib/kubelet/pods/0e0e-gone");
    stage.delete_pod("neighbour");
    stage.remove(&name);
}
