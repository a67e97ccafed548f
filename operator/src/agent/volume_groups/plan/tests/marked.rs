//! Disks that LVM marked without a volume group.

use super::*;

#[test]
fn marked_disk_without_group_is_left_to_the_admin() {
    let marked = device(
        9,
        DeviceState::PhysicalVolume(uuid(), Some("[unknown]".to_owned())),
    );
    let fixture = Fixture::new(vec![blank(0), marked]);
    assert_eq!(
        fixture.outcome(),
        (
            vec!["/dev/0".to_owned()],
            vec![
                reason::CREATING.to_owned(),
                reason::PHYSICAL_VOLUME.to_owned()
            ]
        )
    );
    assert!(fixture.message(1).contains(
        "to erase it, if nothing on it is needed: `pvremove --force --force /dev/1 && dd "
    ));
}
#[test]
fn group_waits_until_its_marked_disk_is_cleared() {
    let marked = device(
        9,
        DeviceState::PhysicalVolume(uuid(), Some("[unknown]".to_owned())),
    );
    let mut fixture = Fixture::new(vec![blank(0), marked, device(2, DeviceState::ReadOnly)]);
    let device = IntentDevice {
        path: "/dev/1".to_owned(),
        uuid: UUID.to_owned(),
    };
    fixture.intents.insert(
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
    assert_eq!(fixture.outcome(), (vec![], reasons));
    assert!(
        fixture.message(0).contains("once /dev/1"),
        "{}",
        fixture.message(0)
    );
    assert!(
        fixture
            .message(1)
            .contains("clears it, and then the agent creates the group"),
        "{}",
        fixture.message(1)
    );
}
