//! Attach mode: the mount for all pods of a node is removed with the last of them, unless the
//! kubelet still uses it.

use crate::fixture::{Fixture, GROUP};
use crate::orphaned_mounts::{QUIET_PERIOD, folder, is_cleared, is_mounted, mount};

pub(crate) fn mount_for_all_pods_is_removed_with_last_pod(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!("mkfs.ext4 -q /dev/{GROUP}/{name} 60M"));
    // Without a pod of this node the agent would treat the folders as another kubelet's.
    fixture.pod("neighbour");
    let shared = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/data";
    let gone = folder("0f0f-gone", "flexlvm.dev~lvm");
    mount(fixture, &name, shared);
    fixture.shell(&format!("mkdir -p {gone}; mount --bind {shared} {gone}"));
    // The kubelet is about to mount it for another pod.
    fixture.volumes_in_use(&["flexvolume-flexlvm.dev/lvm/data"]);
    is_cleared(fixture, &gone);
    std::thread::sleep(QUIET_PERIOD);
    assert!(is_mounted(fixture, shared), "unmounted under the kubelet");
    // The kubelet has dropped that one, too.
    fixture.volumes_in_use(&["flexvolume-flexlvm.dev/lvm/other"]);
    is_cleared(fixture, shared);
    fixture.shell("rm -r /var/lib/kubelet/pods/0f0f-gone");
    fixture.delete_pod("neighbour");
    fixture.remove(&name);
}
