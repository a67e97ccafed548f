//! Disks that LVM marked and gave to no volume group.

use super::*;

#[test]
fn a_disk_that_lvm_has_marked_and_given_to_no_group_is_a_persons() {
    let marked = device(
        9,
        DeviceState::PhysicalVolume(uuid(), Some("[unknown]".to_owned())),
    );
    let world = World::of(vec![blank(0), marked]);
    assert_eq!(
        world.outcome(),
        (
            vec!["/dev/0".to_owned()],
            vec![
                reason::CREATING.to_owned(),
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
        DeviceState::PhysicalVolume(uuid(), Some("[unknown]".to_owned())),
    );
    let mut world = World::of(vec![blank(0), marked, device(2, DeviceState::ReadOnly)]);
    let device = IntentDevice {
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
        reason::CREATE_FAILED,
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
