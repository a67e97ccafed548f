//! Cases in which a device is used for a group or rejected.

mod marked;
mod property;

use host::DevNum;
use std::collections::{BTreeMap, BTreeSet};

use host::{Bytes, DevicePath, LvUuid, VgName};
use proptest::prelude::*;

use super::{
    DeviceState, GroupDevice, GroupPlanInputs, GroupTrace, Intent, ObservedDevice, ObservedGroup,
    ObservedPath, VolumeGroupPlan, WantedGroup, plan, reason,
};
use crate::agent::volume_groups::intent::IntentDevice;

const UUID: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";

fn path(path: &str) -> DevicePath {
    DevicePath::new(path).unwrap()
}

fn group(name: &str) -> VgName {
    VgName::new(name).unwrap()
}

fn uuid() -> LvUuid {
    LvUuid::new(UUID).unwrap()
}

fn device(minor: u32, state: DeviceState) -> ObservedPath {
    let (size, path) = (Bytes(1 << 30), path(&format!("/dev/sd{minor}")));
    ObservedPath::Device(ObservedDevice {
        number: DevNum::new(8, minor),
        path,
        size,
        sector: 512,
        identity: None,
        state,
    })
}

fn vanished() -> ObservedGroup {
    ObservedGroup::Vanished(GroupTrace {
        evidence: "there is a backup".to_owned(),
        remedy: "remove it".to_owned(),
    })
}

fn blank(minor: u32) -> ObservedPath {
    device(minor, DeviceState::Blank)
}

/// Inputs of the plan under test.
struct Fixture {
    wanted: Vec<WantedGroup>,
    observed_groups: BTreeMap<VgName, ObservedGroup>,
    found: BTreeMap<DevicePath, ObservedPath>,
    intents: BTreeMap<VgName, Intent>,
}

impl Fixture {
    /// Wants the missing group `vg0` on these devices: `/dev/0`, `/dev/1` and so on.
    fn new(devices: Vec<ObservedPath>) -> Self {
        let paths: Vec<_> = (0..devices.len())
            .map(|at| path(&format!("/dev/{at}")))
            .collect();
        let found = paths.iter().cloned().zip(devices).collect();
        let wanted = vec![WantedGroup {
            group: group("vg0"),
            devices: paths,
            backends: vec!["b".to_owned()],
        }];
        let observed_groups = [(group("vg0"), ObservedGroup::Missing)].into();
        Self {
            wanted,
            observed_groups,
            found,
            intents: BTreeMap::new(),
        }
    }

    fn with_group(mut self, observed_group: ObservedGroup) -> Self {
        self.observed_groups.insert(group("vg0"), observed_group);
        self
    }

    fn plan(&self) -> VolumeGroupPlan {
        let Self {
            wanted,
            observed_groups,
            found,
            intents,
        } = self;
        plan(GroupPlanInputs {
            wanted,
            observed_groups,
            found,
            intents,
        })
    }

    /// Returns the paths of the devices planned for `vg0`, and the reasons of all devices.
    fn outcome(&self) -> (Vec<String>, Vec<String>) {
        let plan = self.plan();
        let made = plan
            .create
            .iter()
            .filter(|create| create.group == group("vg0"))
            .flat_map(|create| &create.parts);
        let reasons = plan
            .devices
            .into_iter()
            .map(|device| device.reason.unwrap_or_else(|| "in group".to_owned()));
        (
            made.map(|part| part.path.to_string()).collect(),
            reasons.collect(),
        )
    }

    fn message(&self, at: usize) -> String {
        self.plan().devices[at].message.clone().unwrap()
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn group_is_created_on_blank_devices_and_others_have_a_reason() {
    let small = ObservedPath::Device(ObservedDevice {
        size: Bytes((64 << 20) - 1),
        number: DevNum::new(8, 9),
        path: path("/dev/sdz"),
        sector: 512,
        identity: None,
        state: DeviceState::Blank,
    });
    for (found, expected, message) in [
        (
            ObservedPath::Nothing,
            reason::NOT_FOUND,
            "this node has no such device",
        ),
        (
            ObservedPath::NotABlockDevice,
            reason::NOT_A_BLOCK_DEVICE,
            "not a block device",
        ),
        (
            ObservedPath::Unreadable("it hangs".to_owned()),
            reason::UNREADABLE,
            "it hangs",
        ),
        (small, reason::TOO_SMALL, "the minimum is 64 MiB"),
        (
            device(9, DeviceState::ReadOnly),
            reason::READ_ONLY,
            "read-only",
        ),
        (
            device(9, DeviceState::Partitioned(vec!["sda1".to_owned()])),
            reason::PARTITIONED,
            "it has partitions (sda1)",
        ),
        (
            device(9, DeviceState::InUse("it is mounted at /x".to_owned())),
            reason::IN_USE,
            "it is mounted at /x",
        ),
        (
            device(9, DeviceState::Known("ext4".to_owned())),
            reason::NOT_BLANK,
            "it contains ext4; to erase it, if nothing on it is needed: `wipefs --all /dev/1 && dd if=/dev/zero of=/dev/1 bs=1M count=5`",
        ),
        (
            device(9, DeviceState::Unknown(7)),
            reason::NOT_BLANK,
            "byte 7 is not zero",
        ),
        (
            device(9, DeviceState::Unreadable("EIO".to_owned())),
            reason::UNREADABLE,
            "EIO",
        ),
        (
            device(9, DeviceState::PhysicalVolume(uuid(), None)),
            reason::PHYSICAL_VOLUME,
            "`pvremove /dev/1`",
        ),
        (
            device(
                9,
                DeviceState::PhysicalVolume(uuid(), Some("vg7".to_owned())),
            ),
            reason::PHYSICAL_VOLUME,
            "part of volume group vg7",
        ),
        (
            blank(0),
            reason::DUPLICATE_DEVICE,
            "the same disk as /dev/0",
        ),
    ] {
        let fixture = Fixture::new(vec![blank(0), found.clone(), blank(2)]);
        let (made, reasons) = fixture.outcome();
        assert_eq!(
            (made, reasons),
            (
                vec!["/dev/0".to_owned(), "/dev/2".to_owned()],
                [reason::CREATING, expected, reason::CREATING]
                    .map(str::to_owned)
                    .to_vec()
            ),
            "{found:?}"
        );
        assert!(
            fixture.message(1).contains(message),
            "{}",
            fixture.message(1)
        );
        let (made, reasons) = Fixture::new(vec![found.clone()]).outcome();
        let alone = expected == reason::DUPLICATE_DEVICE;
        assert_eq!(made.is_empty(), !alone, "{found:?}: {reasons:?}");
    }
}

#[test]
fn duplicate_disks_and_mixed_sector_sizes_are_rejected() {
    let mut devices = [blank(0), blank(1), blank(2)];
    for (found, sector, identity) in [(0, 512, "x"), (1, 512, "x"), (2, 4096, "y")] {
        let ObservedPath::Device(seen) = &mut devices[found] else {
            panic!()
        };
        (seen.sector, seen.identity) = (sector, Some(identity.to_owned()));
    }
    let (made, reasons) = Fixture::new(devices.to_vec()).outcome();
    assert_eq!(
        (made, &reasons[1..]),
        (
            vec!["/dev/0".to_owned()],
            &[reason::DUPLICATE_DEVICE, reason::SECTOR_SIZE].map(str::to_owned)[..]
        )
    );
}

#[test]
fn existing_group_is_not_changed() {
    let present = |found| {
        Fixture::new(vec![blank(0), found])
            .with_group(ObservedGroup::Present(BTreeSet::from([DevNum::new(8, 0)])))
    };
    for (found, expected) in [
        (blank(1), reason::VOLUME_GROUP_EXISTS),
        (ObservedPath::Nothing, reason::NOT_FOUND),
        (
            device(1, DeviceState::Known("ext4".to_owned())),
            reason::NOT_BLANK,
        ),
    ] {
        assert_eq!(
            present(found).outcome(),
            (vec![], ["in group", expected].map(str::to_owned).to_vec())
        );
    }
    assert!(
        present(blank(1))
            .message(1)
            .contains("to add the device: `vgextend vg0 /dev/1`")
    );
}

#[test]
fn vanished_group_is_not_recreated() {
    let fixture = Fixture::new(vec![blank(0), ObservedPath::Nothing]).with_group(vanished());
    assert_eq!(
        fixture.outcome(),
        (vec![], vec![reason::VOLUME_GROUP_VANISHED.to_owned(); 2])
    );
    assert!(
        fixture.message(0).contains(
            "volume group vg0 existed on this node and is missing now: there is a backup"
        )
    );
    assert!(
        fixture
            .message(1)
            .ends_with("If it is lost for good: remove it")
    );
}

#[test]
fn only_physical_volumes_with_a_recorded_intent_are_used() {
    let mut fixture = Fixture::new(vec![
        device(0, DeviceState::PhysicalVolume(uuid(), None)),
        blank(1),
    ]);
    assert_eq!(fixture.outcome().0, ["/dev/1"]);
    let begun = Intent {
        devices: vec![IntentDevice {
            path: "/dev/0".to_owned(),
            uuid: UUID.to_owned(),
        }],
    };
    fixture.intents.insert(group("vg1"), begun.clone());
    assert_eq!(
        fixture.outcome().0,
        ["/dev/1"],
        "the intent is for another group"
    );
    fixture.intents.insert(group("vg0"), begun);
    let parts = &fixture.plan().create[0].parts;
    assert_eq!(
        parts[0],
        GroupDevice {
            path: path("/dev/0"),
            number: DevNum::new(8, 0),
            uuid: Some(uuid())
        }
    );
    assert_eq!(parts[1].uuid, None);
    let owned = device(
        0,
        DeviceState::PhysicalVolume(uuid(), Some("vg7".to_owned())),
    );
    fixture.found.insert(path("/dev/0"), owned);
    assert_eq!(fixture.outcome().0, ["/dev/1"]);
}

#[test]
fn device_listed_for_two_groups_is_rejected() {
    let mut fixture = Fixture::new(vec![blank(0), blank(1)]);
    // Under another path.
    fixture.found.insert(path("/dev/other"), blank(0));
    fixture.wanted.push(WantedGroup {
        group: group("vg1"),
        devices: vec![path("/dev/other")],
        backends: vec![],
    });
    fixture
        .observed_groups
        .insert(group("vg1"), ObservedGroup::Missing);
    let (made, reasons) = fixture.outcome();
    let expected = [reason::CONFLICT, reason::CREATING, reason::CONFLICT].map(str::to_owned);
    assert_eq!(
        (made, reasons),
        (vec!["/dev/1".to_owned()], expected.to_vec())
    );
    assert!(fixture.message(0).contains("for volume groups vg0 and vg1"));
    fixture.observed_groups.insert(
        group("vg1"),
        ObservedGroup::Present(BTreeSet::from([DevNum::new(8, 0)])),
    );
    for path_of_it in ["/dev/other", "/dev/0"] {
        fixture
            .found
            .insert(path(path_of_it), ObservedPath::Member(DevNum::new(8, 0)));
        assert_eq!(
            fixture.outcome().1[2],
            "in group",
            "the device is part of that group already"
        );
        assert_eq!(
            (fixture.outcome().0, &*fixture.outcome().1[0]),
            (vec!["/dev/1".to_owned()], reason::CONFLICT)
        );
    }
}
