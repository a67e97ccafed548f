//! Diagnoses why a volume is unavailable on this node, by one report of all that LVM finds. Runs
//! only after a failure.

use host::lvm::{Lvm, Vg};
use host::{Error as HostError, Exec, LvName, LvUuid, VgName};

/// Adds the cause to an error, if LVM's report shows one. Without a `uuid`, any volume of that name
/// matches.
pub(crate) fn explain(
    exec: &dyn Exec,
    group: &VgName,
    name: &LvName,
    uuid: Option<&LvUuid>,
    error: HostError,
) -> HostError {
    match reason(exec, group, name, uuid) {
        Some(reason) => HostError::failed(format!("{reason} ({})", host::error::chain(&error))),
        None => error,
    }
}

/// Returns why the volume is unavailable, with the remedy, if LVM's report shows it.
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

/// Returns the cause, if the report shows one. Pure.
fn cause(vgs: &[Vg], group: &VgName, name: &LvName, uuid: Option<&LvUuid>) -> Option<String> {
    let matches = |found: &LvUuid| uuid.is_none_or(|uuid| uuid == found);
    let same_name = || vgs.iter().filter(|vg| vg.name == group.as_str());
    let here = same_name()
        .find(|vg| vg.lv(name.as_str()).is_some_and(|lv| matches(&lv.uuid)))
        .or_else(|| same_name().next());
    let elsewhere = uuid.and_then(|uuid| {
        vgs.iter()
            .find_map(|vg| {
                let lv = vg.lvs.iter().find(|lv| lv.uuid == *uuid)?;
                Some(format!("{}/{}", vg.name, lv.name))
            })
            .filter(|found| *found != format!("{group}/{name}"))
    });
    if let Some(elsewhere) = elsewhere {
        return Some(format!(
            "it was renamed to {elsewhere}; lvrename and vgrename restore its name"
        ));
    }
    let Some(vg) = here else {
        return Some(format!(
            "there is no volume group {group}; vgs --all lists the volume groups, and lsblk the disks"
        ));
    };
    match (vg.lv(name.as_str()), &vg.fault) {
        (_, Some(fault)) => Some(format!("volume group {group}: {fault}")),
        (None, None) => Some(format!(
            "volume group {group} has no logical volume of this name; lvs {group} lists those it has"
        )),
        (Some(lv), None) if !matches(&lv.uuid) => Some(format!(
            "the logical volume of this name is a different one, with uuid {}",
            lv.uuid
        )),
        (Some(lv), None) if !lv.active => Some(format!(
            "LVM does not activate it; lvchange --activate y {group}/{name} shows why, and with -K also activates a \
             snapshot of a thin volume, which LVM otherwise skips"
        )),
        (Some(_), None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::cause;
    use host::lvm::{Lv, LvRole, SegmentType, Vg, VgFault};
    use host::{Bytes, Extents, LvName, LvUuid, VgName};
    use std::collections::BTreeMap;

    const UUID: &str = "ABCDEF1234567890abcdefghijklmnop";

    fn vg(name: &str, fault: Option<VgFault>, lvs: &[(&str, &str, bool)]) -> Vg {
        let lv = |&(name, uuid, active): &(&str, &str, bool)| Lv {
            name: name.to_owned(),
            uuid: LvUuid::from_plain(uuid).unwrap(),
            size: Bytes(1 << 30),
            tags: Vec::new(),
            active,
            open: false,
            segment_type: SegmentType::Plain,
            role: LvRole::Volume,
            shares: BTreeMap::new(),
            integrity: false,
            made: 0,
            pool: None,
            state: None,
        };
        Vg {
            name: name.to_owned(),
            uuid: LvUuid::from_plain(UUID).unwrap(),
            extent_size: Bytes(4 << 20),
            extents: Extents(100),
            free: Extents(1),
            fault,
            lvs: lvs.iter().map(lv).collect(),
            pvs: vec![],
            system_id: String::new(),
            seqno: 1,
        }
    }

    fn diagnosis(vgs: &[Vg]) -> Option<String> {
        let group = VgName::new("vg0").unwrap();
        let name = LvName::new("data").unwrap();
        cause(vgs, &group, &name, Some(&LvUuid::from_plain(UUID).unwrap()))
    }

    #[test]
    fn each_cause_is_diagnosed() {
        let other = "BBCDEF1234567890abcdefghijklmnop";
        for (vgs, expected) in [
            (vec![], "there is no volume group vg0"),
            (vec![vg("vg1", None, &[])], "there is no volume group vg0"),
            (
                vec![vg("vg0", Some(VgFault::Exported), &[])],
                "vg0: it is exported; vgimport",
            ),
            (
                vec![vg(
                    "vg0",
                    Some(VgFault::DisksMissing { count: 1 }),
                    &[("data", UUID, false)],
                )],
                "disks are missing",
            ),
            (
                vec![vg("vg0", None, &[])],
                "has no logical volume of this name",
            ),
            (
                vec![vg("vg0", None, &[("data", other, true)])],
                "is a different one",
            ),
            (
                vec![vg(
                    "vg0",
                    None,
                    &[("data", other, true), ("old", UUID, true)],
                )],
                "renamed to vg0/old",
            ),
            (
                vec![vg("vg1", None, &[("data", UUID, true)])],
                "renamed to vg1/data",
            ),
            (
                vec![vg("vg0", None, &[("data", UUID, false)])],
                "lvchange --activate y vg0/data shows why",
            ),
        ] {
            let found = diagnosis(&vgs).unwrap();
            assert!(found.contains(expected), "{expected:?}: {found}");
        }
        assert_eq!(diagnosis(&[vg("vg0", None, &[("data", UUID, true)])]), None);
    }

    #[test]
    fn group_that_has_the_volume_is_preferred_among_namesakes() {
        let vgs = [
            vg("vg0", Some(VgFault::ReadOnly), &[]),
            vg(
                "vg0",
                Some(VgFault::DuplicateName),
                &[("data", UUID, false)],
            ),
        ];
        let found = diagnosis(&vgs).unwrap();
        assert!(
            found.contains("two volume groups have this name"),
            "{found}"
        );
    }
}
