//! Invariant: only blank devices are used, and each once.

use super::*;

fn any_found() -> impl Strategy<Value = ObservedPath> {
    let state = prop_oneof![
        3 => Just(DeviceState::Blank),
        1 => Just(DeviceState::ReadOnly),
        1 => Just(DeviceState::Known("ext4".to_owned())),
        1 => Just(DeviceState::InUse("x".to_owned())),
        1 => Just(DeviceState::PhysicalVolume(uuid(), None)),
        1 => Just(DeviceState::PhysicalVolume(uuid(), Some("vg9".to_owned()))),
        1 => Just(DeviceState::Unknown(1)),
    ];
    prop_oneof![
        1 => Just(ObservedPath::Nothing),
        6 => (0..4_u32, state).prop_map(|(minor, state)| device(minor, state)),
    ]
}

proptest! {
    #[test]
    fn only_blank_devices_are_used_once_and_each_device_has_a_state(
        mine in prop::collection::vec(any_found(), 0..5),
        theirs in prop::collection::vec(any_found(), 0..3),
        observed_group in prop_oneof![
            Just(ObservedGroup::Missing),
            Just(vanished()),
            Just(ObservedGroup::Present(BTreeSet::new())),
        ],
    ) {
        let count = mine.len() + theirs.len();
        let mut fixture = Fixture::new(mine).with_group(observed_group.clone());
        let paths: Vec<_> = (0..theirs.len()).map(|at| path(&format!("/dev/t{at}"))).collect();
        fixture.found.extend(paths.iter().cloned().zip(theirs));
        fixture.wanted.push(WantedGroup { group: group("vg1"), devices: paths, backends: vec![] });
        fixture.observed_groups.insert(group("vg1"), ObservedGroup::Missing);
        let plan = fixture.plan();
        prop_assert_eq!(plan.devices.len(), count);
        let mut numbers = BTreeSet::new();
        for create in &plan.create {
            prop_assert!(fixture.observed_groups[&create.group] == ObservedGroup::Missing);
            for part in &create.parts {
                let ObservedPath::Device(seen) = &fixture.found[&part.path] else {
                    panic!("{part:?} is not a device")
                };
                prop_assert_eq!(&seen.state, &DeviceState::Blank);
                prop_assert!(numbers.insert(part.number));
            }
        }
        for device in &plan.devices {
            prop_assert_eq!(device.in_volume_group, device.message.is_none());
        }
    }
}
