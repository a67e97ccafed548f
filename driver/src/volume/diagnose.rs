//! Why a volume can't be had on this node, in words: one report of all that LVM knows. Called when
//! something has failed.

use host::lvm::{Lvm, Vg};
use host::{Error as HostError, Exec, LvName, LvUuid, VgName};

/// The failure, with its cause where LVM's report shows one. Without a `uuid`, any volume of that
/// name is meant.
pub(crate) fn explain(
    exec: &dyn Exec,
    group: &VgName,
    name: &LvName,
    uuid: Option<&LvUuid>,
    error: HostError,
) -> HostError {
    match reason(exec, group, name, uuid) {
        Some(reason) => HostError::refused(
            error.kind(),
            format!("{reason} ({})", host::error::chain(&error)),
        ),
        None => error,
    }
}

/// Why the volume can't be had, if LVM's report shows it: in one sentence, with what to do.
pub(crate) fn reason(
    exec: &dyn Exec,
    group: &VgName,
    name: &LvName,
    uuid: Option<&LvUuid>,
) -> Option<String> {
    let cause = cause(&Lvm(exec).report().ok()?, group, name, uuid)?;
    Some(format!(
        "logical volume {group}/{name} can't be used on this node: {cause}"
    ))
}

/// What is wrong with the volume, if a report shows it. Pure.
fn cause(vgs: &[Vg], group: &VgName, name: &LvName, uuid: Option<&LvUuid>) -> Option<String> {
    let is_meant = |found: &LvUuid| uuid.is_none_or(|uuid| uuid == found);
    let named = || vgs.iter().filter(|vg| vg.name == group.as_str());
    let here = named()
        .find(|vg| vg.lv(name.as_str()).is_some_and(|lv| is_meant(&lv.uuid)))
        .or_else(|| named().next());
    let elsewhere = uuid.and_then(|uuid| {
        let found = |vg: &Vg| {
            Some(format!(
                "{}/{}",
                vg.name,
                vg.lvs.iter().find(|lv| lv.uuid == *uuid)?.name
            ))
        };
        vgs.iter()
            .find_map(found)
            .filter(|found| *found != format!("{group}/{name}"))
    });
    if let Some(elsewhere) = elsewhere {
        return Some(format!(
            "it is called {elsewhere} now; lvrename and vgrename give it its name back"
        ));
    }
    let Some(vg) = here else {
        return Some(format!(
            "there is no volume group {group}; vgs --all shows those that are there, and lsblk the disks"
        ));
    };
    match (vg.lv(name.as_str()), &vg.fault) {
        (_, Some(fault)) => Some(format!("volume group {group}: {fault}")),
        (None, None) => Some(format!(
            "volume group {group} has no logical volume of this name; lvs {group} shows all"
        )),
        (Some(lv), None) if !is_meant(&lv.uuid) => Some(format!(
            "it is another one than the volume's, with uuid {}",
            lv.uuid
        )),
        (Some(lv), None) if !lv.active => Some(format!(
            "LVM does not activate it; lvchange --activate y {group}/{name} says why, and with -K it activates a \
                 snapshot of a thin volume, too, which LVM otherwise skips"
        )),
        (Some(_), None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::cause;
    use host::lvm::{Lv, LvKind, Vg};
    use host::{Bytes, Extents, LvName, LvUuid, VgName};
    use std::collections::BTreeMap;

    const MEANT: &str = "ABCDEF1234567890abcdefghijklmnop";

    fn vg(name: &str, fault: Option<&str>, lvs: &[(&str, &str, bool)]) -> Vg {
        let lv = |&(name, uuid, active): &(&str, &str, bool)| Lv {
            name: name.to_owned(),
            uuid: LvUuid::from_plain(uuid).unwrap(),
            size: Bytes(1 << 30),
            tags: Vec::new(),
            active,
            open: false,
            kind: LvKind::Plain,
            shares: BTreeMap::new(),
            integrity: false,
            made: 0,
            pool: None,
            state: None,
        };
        Vg {
            name: name.to_owned(),
            uuid: LvUuid::from_plain(MEANT).unwrap(),
            extent_size: Bytes(4 << 20),
            extents: Extents(100),
            free: Extents(1),
            fault: fault.map(str::to_owned),
            lvs: lvs.iter().map(lv).collect(),
            pvs: vec![],
            system_id: String::new(),
            seqno: 1,
        }
    }

    fn words(vgs: &[Vg]) -> Option<String> {
        let (group, name) = (VgName::new("vg0").unwrap(), LvName::new("data").unwrap());
        cause(
            vgs,
            &group,
            &name,
            Some(&LvUuid::from_plain(MEANT).unwrap()),
        )
    }

    #[test]
    fn each_cause_has_its_words() {
        let other = "BBCDEF1234567890abcdefghijklmnop";
        for (vgs, expected) in [
            (vec![], "there is no volume group vg0"),
            (vec![vg("vg1", None, &[])], "there is no volume group vg0"),
            (
                vec![vg(
                    "vg0",
                    Some("it is exported; vgimport brings it back"),
                    &[],
                )],
                "vg0: it is exported; vgimport",
            ),
            (
                vec![vg(
                    "vg0",
                    Some("1 of its disks are missing"),
                    &[("data", MEANT, false)],
                )],
                "disks are missing",
            ),
            (
                vec![vg("vg0", None, &[])],
                "has no logical volume of this name",
            ),
            (
                vec![vg("vg0", None, &[("data", other, true)])],
                "another one than the volume's",
            ),
            (
                vec![vg(
                    "vg0",
                    None,
                    &[("data", other, true), ("old", MEANT, true)],
                )],
                "called vg0/old now",
            ),
            (
                vec![vg("vg1", None, &[("data", MEANT, true)])],
                "called vg1/data now",
            ),
            (
                vec![vg("vg0", None, &[("data", MEANT, false)])],
                "lvchange --activate y vg0/data says why",
            ),
        ] {
            let found = words(&vgs).unwrap();
            assert!(found.contains(expected), "{expected:?}: {found}");
        }
        assert_eq!(words(&[vg("vg0", None, &[("data", MEANT, true)])]), None);
    }

    #[test]
    fn of_two_groups_of_one_name_the_one_that_has_it_counts() {
        let namesakes = [
            vg("vg0", Some("a"), &[]),
            vg("vg0", Some("b"), &[("data", MEANT, false)]),
        ];
        assert_eq!(words(&namesakes).unwrap(), "volume group vg0: b");
    }
}
