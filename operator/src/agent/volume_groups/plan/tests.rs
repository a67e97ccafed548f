//! Which devices are taken, and why the others are not.

use std::collections::{BTreeMap, BTreeSet};

use host::{Bytes, DevicePath, LvUuid, VgName};
use proptest::prelude::*;

use super::{Facts, Found, Intent, Part, Plan, Seen, Standing, State, Trace, Wanted, plan, reason};
use crate::agent::volume_groups::intent::Device;

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

fn device(minor: u32, state: State) -> Found {
    let (size, path) = (Bytes(1 << 30), path(&format!("/dev/sd{minor}")));
    Found::Device(Seen {
        number: (8, minor),
        path,
        size,
        sector: 512,
        identity: None,
        state,
    })
}

fn vanished() -> Standing {
    Standing::Vanished(Trace {
        tells: "there is a backup".to_owned(),
        remedy: "remove it".to_owned(),
    })
}

fn blank(minor: u32) -> Found {
    device(minor, State::Blank)
}

/// The groups that are wanted, of these devices.
struct World {
    wanted: Vec<Wanted>,
    standings: BTreeMap<VgName, Standing>,
    found: BTreeMap<DevicePath, Found>,
    intents: BTreeMap<VgName, Intent>,
}

impl World {
    /// `vg0`, which is not there, of these devices: `/dev/0`, `/dev/1` and so on.
    fn of(devices: Vec<Found>) -> Self {
        let paths: Vec<_> = (0..devices.len())
            .map(|at| path(&format!("/dev/{at}")))
            .collect();
        let found = paths.iter().cloned().zip(devices).collect();
        let wanted = vec![Wanted {
            group: group("vg0"),
            devices: paths,
            backends: vec!["b".to_owned()],
        }];
        let standings = [(group("vg0"), Standing::Missing)].into();
        Self {
            wanted,
            standings,
            found,
            intents: BTreeMap::new(),
        }
    }

    fn stands(mut self, standing: Standing) -> Self {
        self.standings.insert(group("vg0"), standing);
        self
    }

    fn plan(&self) -> Plan {
        let Self {
            wanted,
            standings,
            found,
            intents,
        } = self;
        plan(Facts {
            wanted,
            standings,
            found,
            intents,
        })
    }

    /// The paths of what `vg0` is made of, and the reasons of all devices.
    fn outcome(&self) -> (Vec<String>, Vec<String>) {
        let plan = self.plan();
        let made = plan
            .make
            .iter()
            .filter(|make| make.group == group("vg0"))
            .flat_map(|make| &make.parts);
        let reasons = plan
            .devices
            .into_iter()
            .map(|device| device.reason.unwrap_or_else(|| "taken".to_owned()));
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
fn a_disk_that_lvm_has_marked_and_given_to_no_group_is_a_persons() {
    let marked = device(
        9,
        State::PhysicalVolume(uuid(), Some("[unknown]".to_owned())),
    );
    let world = World::of(vec![blank(0), marked]);
    assert_eq!(
        world.outcome(),
        (
            vec!["/dev/0".to_owned()],
            vec![
                reason::MAKING.to_owned(),
                reason::PHYSICAL_VOLUME.to_owned()
            ]
        )
    );
    assert!(
        world
            .message(1)
            .contains("if nothing on it is needed: `pvremove --force --force /dev/1 && dd ")
    );
}

#[test]
fn a_group_waits_for_a_disk_of_its_own_that_lvm_has_marked() {
    let marked = device(
        9,
        State::PhysicalVolume(uuid(), Some("[unknown]".to_owned())),
    );
    let mut world = World::of(vec![blank(0), marked, device(2, State::ReadOnly)]);
    let device = Device {
        path: "/dev/1".to_owned(),
        uuid: UUID.to_owned(),
    };
    world.intents.insert(
        group("vg0"),
        Intent {
            devices: vec![device],
        },
    );
    let reasons = [
        reason::MAKING_FAILED,
        reason::PHYSICAL_VOLUME,
        reason::READ_ONLY,
    ]
    .map(str::to_owned)
    .to_vec();
    assert_eq!(world.outcome(), (vec![], reasons));
    assert!(
        world.message(0).contains("once /dev/1"),
        "{}",
        world.message(0)
    );
    assert!(
        world
            .message(1)
            .contains("clears it, and then the group is made"),
        "{}",
        world.message(1)
    );
}

#[test]
fn a_group_is_made_of_what_is_blank_and_each_other_device_has_its_reason() {
    let small = Found::Device(Seen {
        size: Bytes((64 << 20) - 1),
        number: (8, 9),
        path: path("/dev/sdz"),
        sector: 512,
        identity: None,
        state: State::Blank,
    });
    for (found, expected, words) in [
        (
            Found::Nothing,
            reason::NOT_THERE,
            "no such device on this node",
        ),
        (
            Found::NoBlockDevice,
            reason::NO_BLOCK_DEVICE,
            "not a block device",
        ),
        (
            Found::Unreadable("it hangs".to_owned()),
            reason::UNREADABLE,
            "it hangs",
        ),
        (small, reason::TOO_SMALL, "64 MiB are the least"),
        (device(9, State::ReadOnly), reason::READ_ONLY, "read-only"),
        (
            device(9, State::Partitioned(vec!["sda1".to_owned()])),
            reason::PARTITIONED,
            "it has partitions (sda1)",
        ),
        (
            device(9, State::InUse("it is mounted at /x".to_owned())),
            reason::IN_USE,
            "it is mounted at /x",
        ),
        (
            device(9, State::Known("ext4".to_owned())),
            reason::NOT_BLANK,
            "there is ext4 on it; if nothing on it is needed: `wipefs --all /dev/1 && dd if=/dev/zero of=/dev/1 bs=1M count=5`",
        ),
        (
            device(9, State::Unknown(7)),
            reason::NOT_BLANK,
            "byte 7 is not zero",
        ),
        (
            device(9, State::Unreadable("EIO".to_owned())),
            reason::UNREADABLE,
            "EIO",
        ),
        (
            device(9, State::PhysicalVolume(uuid(), None)),
            reason::PHYSICAL_VOLUME,
            "`pvremove /dev/1`",
        ),
        (
            device(9, State::PhysicalVolume(uuid(), Some("vg7".to_owned()))),
            reason::PHYSICAL_VOLUME,
            "part of volume group vg7",
        ),
        (blank(0), reason::SAME_DISK, "the same disk as /dev/0"),
    ] {
        let world = World::of(vec![blank(0), found.clone(), blank(2)]);
        let (made, reasons) = world.outcome();
        assert_eq!(
            (made, reasons),
            (
                vec!["/dev/0".to_owned(), "/dev/2".to_owned()],
                [reason::MAKING, expected, reason::MAKING]
                    .map(str::to_owned)
                    .to_vec()
            ),
            "{found:?}"
        );
        assert!(world.message(1).contains(words), "{}", world.message(1));
        let (made, reasons) = World::of(vec![found.clone()]).outcome();
        let alone = expected == reason::SAME_DISK;
        assert_eq!(made.is_empty(), !alone, "{found:?}: {reasons:?}");
    }
}

#[test]
fn two_paths_to_one_disk_and_two_sizes_of_sectors_do_not_go_together() {
    let mut devices = [blank(0), blank(1), blank(2)];
    for (found, sector, identity) in [(0, 512, "x"), (1, 512, "x"), (2, 4096, "y")] {
        let Found::Device(seen) = &mut devices[found] else {
            panic!()
        };
        (seen.sector, seen.identity) = (sector, Some(identity.to_owned()));
    }
    let (made, reasons) = World::of(devices.to_vec()).outcome();
    assert_eq!(
        (made, &reasons[1..]),
        (
            vec!["/dev/0".to_owned()],
            &[reason::SAME_DISK, reason::SECTOR_SIZE].map(str::to_owned)[..]
        )
    );
}

#[test]
fn a_group_that_is_there_is_not_changed() {
    let there =
        |found| World::of(vec![blank(0), found]).stands(Standing::There(BTreeSet::from([(8, 0)])));
    for (found, expected) in [
        (blank(1), reason::VOLUME_GROUP_EXISTS),
        (Found::Nothing, reason::NOT_THERE),
        (
            device(1, State::Known("ext4".to_owned())),
            reason::NOT_BLANK,
        ),
    ] {
        assert_eq!(
            there(found).outcome(),
            (vec![], ["taken", expected].map(str::to_owned).to_vec())
        );
    }
    assert!(
        there(blank(1))
            .message(1)
            .contains("`vgextend vg0 /dev/1` adds it")
    );
}

#[test]
fn a_group_that_vanished_is_not_made_anew() {
    let world = World::of(vec![blank(0), Found::Nothing]).stands(vanished());
    assert_eq!(
        world.outcome(),
        (vec![], vec![reason::VOLUME_GROUP_VANISHED.to_owned(); 2])
    );
    assert!(
        world
            .message(0)
            .contains("volume group vg0 was on this node and is not any more: there is a backup")
    );
    assert!(
        world
            .message(1)
            .ends_with("If it is lost for good: remove it")
    );
}

#[test]
fn only_what_an_agent_wrote_down_before_is_taken_up() {
    let mut world = World::of(vec![
        device(0, State::PhysicalVolume(uuid(), None)),
        blank(1),
    ]);
    assert_eq!(world.outcome().0, ["/dev/1"]);
    let begun = Intent {
        devices: vec![Device {
            path: "/dev/0".to_owned(),
            uuid: UUID.to_owned(),
        }],
    };
    world.intents.insert(group("vg1"), begun.clone());
    assert_eq!(
        world.outcome().0,
        ["/dev/1"],
        "it was begun for another group"
    );
    world.intents.insert(group("vg0"), begun);
    let parts = &world.plan().make[0].parts;
    assert_eq!(
        parts[0],
        Part {
            path: path("/dev/0"),
            number: (8, 0),
            uuid: Some(uuid())
        }
    );
    assert_eq!(parts[1].uuid, None);
    let owned = device(0, State::PhysicalVolume(uuid(), Some("vg7".to_owned())));
    world.found.insert(path("/dev/0"), owned);
    assert_eq!(world.outcome().0, ["/dev/1"]);
}

#[test]
fn a_device_that_two_groups_want_gets_none() {
    let mut world = World::of(vec![blank(0), blank(1)]);
    // By another path.
    world.found.insert(path("/dev/other"), blank(0));
    world.wanted.push(Wanted {
        group: group("vg1"),
        devices: vec![path("/dev/other")],
        backends: vec![],
    });
    world.standings.insert(group("vg1"), Standing::Missing);
    let (made, reasons) = world.outcome();
    let expected = [reason::CONTESTED, reason::MAKING, reason::CONTESTED].map(str::to_owned);
    assert_eq!(
        (made, reasons),
        (vec!["/dev/1".to_owned()], expected.to_vec())
    );
    assert!(
        world
            .message(0)
            .contains("for volume group vg0 and for volume group vg1")
    );
    world
        .standings
        .insert(group("vg1"), Standing::There(BTreeSet::from([(8, 0)])));
    for path_of_it in ["/dev/other", "/dev/0"] {
        world.found.insert(path(path_of_it), Found::Member((8, 0)));
        assert_eq!(
            world.outcome().1[2],
            "taken",
            "it is part of that one already"
        );
        assert_eq!(
            (world.outcome().0, &*world.outcome().1[0]),
            (vec!["/dev/1".to_owned()], reason::CONTESTED)
        );
    }
}

fn any_found() -> impl Strategy<Value = Found> {
    let state = prop_oneof![
        3 => Just(State::Blank),
        1 => Just(State::ReadOnly),
        1 => Just(State::Known("ext4".to_owned())),
        1 => Just(State::InUse("x".to_owned())),
        1 => Just(State::PhysicalVolume(uuid(), None)),
        1 => Just(State::PhysicalVolume(uuid(), Some("vg9".to_owned()))),
        1 => Just(State::Unknown(1)),
    ];
    prop_oneof![1 => Just(Found::Nothing), 6 => (0..4_u32, state).prop_map(|(minor, state)| device(minor, state))]
}

proptest! {
    #[test]
    fn nothing_but_blank_devices_is_ever_taken_each_once_and_each_device_gets_a_word(
        mine in prop::collection::vec(any_found(), 0..5),
        theirs in prop::collection::vec(any_found(), 0..3),
        standing in prop_oneof![Just(Standing::Missing), Just(vanished()), Just(Standing::There(BTreeSet::new()))],
    ) {
        let count = mine.len() + theirs.len();
        let mut world = World::of(mine).stands(standing.clone());
        let paths: Vec<_> = (0..theirs.len()).map(|at| path(&format!("/dev/t{at}"))).collect();
        world.found.extend(paths.iter().cloned().zip(theirs));
        world.wanted.push(Wanted { group: group("vg1"), devices: paths, backends: vec![] });
        world.standings.insert(group("vg1"), Standing::Missing);
        let plan = world.plan();
        prop_assert_eq!(plan.devices.len(), count);
        let mut numbers = BTreeSet::new();
        for make in &plan.make {
            prop_assert!(world.standings[&make.group] == Standing::Missing);
            for part in &make.parts {
                prop_assert!(matches!(&world.found[&part.path], Found::Device(seen) if seen.state == State::Blank));
                prop_assert!(numbers.insert(part.number));
            }
        }
        prop_assert!(plan.devices.iter().all(|device| device.taken == device.message.is_none()));
    }
}
