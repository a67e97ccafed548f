//! Examples for each rule.

use std::collections::BTreeSet;
use std::path::Path;

use flexvolume::DriverName;
use host::mount::mountinfo::{self, Mount};
use host::stack::processes::MountHolders;

use super::{Candidate, PreviousScan, candidates, orphaned, unused};

const POINT: &str = "/var/lib/kubelet/pods/1-a/volumes/flexlvm.dev~lvm/pvc-1";

fn mount(id: u64, minor: u32, point: &str) -> Mount {
    let line = format!("{id} 1 254:{minor} / {point} rw - ext4 /dev/mapper/vg-x rw\n");
    mountinfo::parse(line.as_bytes()).unwrap().remove(0)
}

fn one() -> Vec<Candidate> {
    candidates(&[mount(7, 3, POINT)], &[DriverName::own()])
}

fn uids(uids: &[&str]) -> BTreeSet<String> {
    uids.iter().map(|uid| (*uid).to_owned()).collect()
}

/// Returns whether the only candidate remains.
fn is_left(candidates: Vec<Candidate>) -> bool {
    !candidates.is_empty()
}

#[test]
fn only_mounts_of_flexlvm_volumes_are_candidates() {
    let alias: DriverName = "kubernetes.io/lvm".parse().unwrap();
    let mounts = [
        mount(1, 1, "/"),
        mount(2, 2, "/data"),
        mount(3, 3, POINT),
        mount(
            4,
            4,
            "/var/lib/kubelet/pods/1-a/volumes/kubernetes.io~lvm/old",
        ),
        mount(
            5,
            5,
            "/var/lib/kubelet/pods/1-a/volumes/kubernetes.io~csi/pvc-2/mount",
        ),
        mount(6, 6, "/var/lib/kubelet/pods/1-a/volumes/other~lvm/pvc-2"),
        mount(
            7,
            7,
            "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1",
        ),
        mount(
            8,
            8,
            "/var/lib/kubelet/pods/1-a/volume-subpaths/pvc-1/app/0",
        ),
    ];
    let ids = |drivers: &[DriverName]| {
        candidates(&mounts, drivers)
            .iter()
            .map(|one| one.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[DriverName::own()]), [3, 7]);
    assert_eq!(ids(&[DriverName::own(), alias]), [3, 4, 7]);
    let folder = one().remove(0).folder;
    assert_eq!(
        (folder.pod.as_deref(), folder.root.as_path()),
        (Some("1-a"), Path::new("/var/lib/kubelet"))
    );
}

#[test]
fn node_wide_mount_is_kept_while_the_volume_is_in_use() {
    let all = mount(
        7,
        3,
        "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1",
    );
    let own = [DriverName::own()];
    for other in [POINT, "/mnt"] {
        let left = candidates(&[all.clone(), mount(8, 3, other)], &own);
        assert!(left.iter().all(|one| one.id != 7), "{other}");
    }
    let alone = || candidates(std::slice::from_ref(&all), &own);
    let data = MountHolders {
        mounts: vec![mount(70, 3, "/data")],
        ..MountHolders::default()
    };
    assert!(is_left(alone()) && !is_left(unused(alone(), &data)));
    let left = |in_use: &[&str], pods: &[&str]| {
        let in_use: Vec<String> = in_use.iter().map(|&name| name.to_owned()).collect();
        is_left(orphaned(alone(), &uids(pods), &in_use, |_, _| true))
    };
    assert!(
        left(&[], &["2-b"])
            && left(
                &[
                    "flexvolume-flexlvm.dev/lvm/pvc-2",
                    "kubernetes.io/csi/x/pvc-1"
                ],
                &["2-b"]
            )
    );
    assert!(!left(&["flexvolume-flexlvm.dev/lvm/pvc-1"], &["2-b"]));
    assert!(!left(&[], &[]), "another kubelet's root");
}

#[test]
fn mount_is_kept_while_a_container_has_the_volume() {
    let processes = |point: &str, minor| MountHolders {
        mounts: vec![mount(70, minor, point)],
        ..MountHolders::default()
    };
    assert!(is_left(unused(one(), &MountHolders::default())));
    assert!(!is_left(unused(one(), &processes("/data", 3))));
    assert!(
        is_left(unused(one(), &processes("/data", 4))),
        "another volume"
    );
    assert!(
        is_left(unused(one(), &processes(POINT, 3))),
        "a service's copy of the node's mounts"
    );
    assert!(
        is_left(unused(one(), &processes(&format!("/host{POINT}"), 3))),
        "a copy below another root, as of a metrics exporter"
    );
    let running = MountHolders {
        pods: uids(&["1-a"]),
        ..MountHolders::default()
    };
    assert!(
        !is_left(unused(one(), &running)),
        "between two of its containers"
    );
}

#[test]
fn mounts_of_existing_pods_are_kept() {
    let there = |_: &Path, _: &str| true;
    assert!(is_left(orphaned(one(), &uids(&["2-b"]), &[], there)));
    assert!(!is_left(orphaned(
        one(),
        &uids(&["1-a", "2-b"]),
        &[],
        there
    )));
}

#[test]
fn no_mount_is_orphaned_without_a_pod_of_this_kubelet() {
    assert!(
        !is_left(orphaned(one(), &uids(&[]), &[], |_, _| true)),
        "an empty list"
    );
    assert!(
        !is_left(orphaned(one(), &uids(&["2-b"]), &[], |_, _| false)),
        "another kubelet's root"
    );
    let root = |root: &Path, uid: &str| root == Path::new("/var/lib/kubelet") && uid == "3-c";
    assert!(is_left(orphaned(one(), &uids(&["2-b", "3-c"]), &[], root)));
}

#[test]
fn mount_is_confirmed_by_two_consecutive_scans() {
    let mut previous = PreviousScan::default();
    assert!(previous.confirm(one()).is_empty());
    assert_eq!(previous.confirm(one()), one());
    assert!(previous.confirm(Vec::new()).is_empty());
    assert!(
        previous.confirm(one()).is_empty(),
        "the scan in between did not find it"
    );
    let other = candidates(&[mount(8, 3, POINT)], &[DriverName::own()]);
    assert!(
        previous.confirm(other).is_empty(),
        "another mount in the same place"
    );
}
