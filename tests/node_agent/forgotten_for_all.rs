//! Where volumes are attached: the mount for all pods of a node goes with the last of them, unless
//! the kubelet still uses it.

use crate::forgotten::{LOOKS, folder, is_cleared, is_mounted, mount};
use crate::stage::{GROUP, Stage};

pub(crate) fn the_mount_for_all_pods_goes_with_the_last_of_them(stage: &Stage) {
    let name = stage.volume("64Mi");
    stage.shell(&format!("mkfs.ext4 -q /dev/{GROUP}/{name} 60M"));
    // Without a pod of this node the folders would be another kubelet's.
    stage.pod("neighbour");
    let shared = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/data";
    let gone = folder("0f0f-gone", "flexlvm.dev~lvm");
    mount(stage, &name, shared);
    stage.shell(&format!("mkdir -p {gone}; mount --bind {shared} {gone}"));
    // The kubelet is about to mount it for another pod.
    stage.volumes_in_use(&["flexvolume-flexlvm.dev/lvm/data"]);
    is_cleared(stage, &gone);
    std::thread::sleep(LOOKS);
    assert!(is_mounted(stage, shared), "unmounted under the kubelet");
    // It has forgotten that one, too.
    stage.volumes_in_use(&["flexvolume-flexlvm.dev/lvm/other"]);
    is_cleared(stage, shared);
    stage.shell("rm -r /var/lib/kubelet/pods/0f0f-gone");
    stage.delete_pod("neighbour");
    stage.remove(&name);
}
