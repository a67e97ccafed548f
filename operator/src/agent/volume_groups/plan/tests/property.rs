//! Whatever is found: only blank devices are taken, and each once.

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
    prop_oneof![1 => Just(ObservedPath::Nothing), 6 => (0..4_u32, state).prop_map(|(minor, state)| device(minor, state))]
}
proptest! {
    #[test]
    fn nothing_but_blank_devices_is_ever_taken_each_once_and_each_device_gets_a_word(
        mine in prop::collection::vec(any_found(), 0..5),
        theirs in prop::collection::vec(any_found(), 0..3),
        observed_group in prop_oneof![Just(ObservedGroup::Missing), Just(vanished()), Just(ObservedGroup::Present(BTreeSet::new()))],
    ) {
        let count = mine.len() + theirs.len();
        let mut world = World::of(mine).stands(observed_group.clone());
        let paths: Vec<_> = (0..theirs.len()).map(|at| path(&format!("/dev/t{at}"))).collect();
        world.found.extend(paths.iter().cloned().zip(theirs));
        world.wanted.push(WantedGroup { group: group("vg1"), devices: paths, backends: vec![] });
        world.observed_groups.insert(group("vg1"), ObservedGroup::Missing);
        let plan = world.plan();
        prop_assert_eq!(plan.devices.len(), count);
        let mut numbers = BTreeSet::new();
        for make in &plan.make {
            prop_assert!(world.observed_groups[&make.group] == ObservedGroup::Missing);
            for part in &make.parts {
                prop_assert!(matches!(&world.found[&part.path], ObservedPath::Device(seen) if seen.state == DeviceState::Blank));
                prop_assert!(numbers.insert(part.number));
            }
        }
        prop_assert!(plan.devices.iter().all(|device| device.in_volume_group == device.message.is_none()));
    }
}
