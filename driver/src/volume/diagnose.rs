//! Diagnoses why a volume is unavailable on this node, by one report of all that LVM finds. Runs
//! only after a failure.

use host::lvm::{Lvm, Vg, VgFault};
use host::{Error as HostError, Exec, KeyDigest, LvName, LvUuid, VgName};

use crate::error::Error;
use crate::volume::identity::VolumeIdentity;

/// Why a volume is unavailable, with the remedy as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Cause {
    /// Its logical volume has another name by now.
    #[error("it was renamed to {to}; lvrename and vgrename restore its name")]
    Renamed {
        /// `<group>/<name>`.
        to: String,
    },
    /// LVM finds no volume group of the name.
    #[error(
        "there is no volume group {group}; vgs --all lists the volume groups, and lsblk the disks"
    )]
    NoGroup {
        /// Name of the volume group.
        group: VgName,
    },
    /// LVM can't use the volume group.
    #[error("volume group {group}: {fault}")]
    UnusableGroup {
        /// Name of the volume group.
        group: VgName,
        /// Why.
        fault: VgFault,
    },
    /// The volume group has no logical volume of the name.
    #[error(
        "volume group {group} has no logical volume of this name; lvs {group} lists those it has"
    )]
    NoVolume {
        /// Name of the volume group.
        group: VgName,
    },
    /// Another logical volume has the name.
    #[error("the logical volume of this name is a different one, with uuid {found}")]
    AnotherVolume {
        /// LVM's uuid of that one.
        found: LvUuid,
    },
    /// The logical volume is inactive.
    #[error(
        "LVM does not activate it; lvchange --activate y {group}/{name} shows why, and with -K also activates a snapshot \
         of a thin volume, which LVM otherwise skips"
    )]
    Inactive {
        /// Name of the volume group.
        group: VgName,
        /// Name of the logical volume.
        name: LvName,
    },
}

/// Adds the cause to an error, if LVM's report shows one. Without a `uuid`, any volume of that name
/// matches.
pub(crate) fn explain(
    exec: &dyn Exec,
    group: &VgName,
    name: &LvName,
    uuid: Option<&LvUuid>,
    error: HostError,
) -> Error {
    match reason(exec, group, name, uuid) {
        Some(reason) => Error::Failed(format!("{reason} ({})", host::error::chain(&error))),
        None => error.into(),
    }
}

/// Adds the cause to an error of a look-up. Only the holder of the volume's key learns where the
/// volume is now; others learn about the name that they have given.
pub(crate) fn explain_to_holder(
    exec: &dyn Exec,
    volume: &VolumeIdentity,
    given: &KeyDigest,
    error: HostError,
) -> Error {
    let VolumeIdentity { group, name, uuid } = volume;
    let Ok(report) = Lvm(exec).report() else {
        return error.into();
    };
    let is_holder = report
        .groups
        .iter()
        .flat_map(|vg| &vg.lvs)
        .any(|lv| lv.uuid == *uuid && KeyDigest::from_tags(&lv.tags).as_ref() == Some(given));
    match cause(&report.groups, group, name, is_holder.then_some(uuid)) {
        Some(cause) => Error::Failed(format!(
            "{} ({})",
            unusable(group, name, &cause),
            host::error::chain(&error)
        )),
        None => error.into(),
    }
}

/// Returns the error about a name that another logical volume has.
pub(crate) fn another_volume(volume: &VolumeIdentity, found: LvUuid) -> Error {
    let cause = Cause::AnotherVolume { found };
    Error::Failed(unusable(&volume.group, &volume.name, &cause))
}

fn unusable(group: &VgName, name: &LvName, cause: &Cause) -> String {
    format!("logical volume {group}/{name} can't be used on this node: {cause}")
}

/// Returns why the volume is unavailable, with the remedy, if LVM's report shows it.
pub(crate) fn reason(
    exec: &dyn Exec,
    group: &VgName,
    name: &LvName,
    uuid: Option<&LvUuid>,
) -> Option<String> {
    let cause = cause(&Lvm(exec).report().ok()?.groups, group, name, uuid)?;
    Some(unusable(group, name, &cause))
}

/// Returns the cause, if the report shows one. Pure.
fn cause(vgs: &[Vg], group: &VgName, name: &LvName, uuid: Option<&LvUuid>) -> Option<Cause> {
    if let Some(to) = uuid.and_then(|uuid| renamed_to(vgs, group, name, uuid)) {
        return Some(Cause::Renamed { to });
    }
    let group = group.clone();
    let Some(vg) = group_of(vgs, &group, name, uuid) else {
        return Some(Cause::NoGroup { group });
    };
    if let Some(fault) = &vg.fault {
        let fault = fault.clone();
        return Some(Cause::UnusableGroup { group, fault });
    }
    let Some(lv) = vg.lv(name.as_str()) else {
        return Some(Cause::NoVolume { group });
    };
    if uuid.is_some_and(|uuid| lv.uuid != *uuid) {
        let found = lv.uuid.clone();
        return Some(Cause::AnotherVolume { found });
    }
    if !lv.active {
        let name = name.clone();
        return Some(Cause::Inactive { group, name });
    }
    None
}

/// Returns the present name `<group>/<name>` of the logical volume, if it is another one.
fn renamed_to(vgs: &[Vg], group: &VgName, name: &LvName, uuid: &LvUuid) -> Option<String> {
    let found = vgs.iter().find_map(|vg| {
        let lv = vg.lvs.iter().find(|lv| lv.uuid == *uuid)?;
        Some(format!("{}/{}", vg.name, lv.name))
    })?;
    (found != format!("{group}/{name}")).then_some(found)
}

/// Returns the volume group of the name; among several, the one that has the volume.
fn group_of<'a>(
    vgs: &'a [Vg],
    group: &VgName,
    name: &LvName,
    uuid: Option<&LvUuid>,
) -> Option<&'a Vg> {
    let namesakes = vgs.iter().filter(|vg| vg.name == group.as_str());
    let mut first = None;
    for vg in namesakes {
        if vg
            .lv(name.as_str())
            .is_some_and(|lv| uuid.is_none_or(|uuid| lv.uuid == *uuid))
        {
            return Some(vg);
        }
        first = first.or(Some(vg));
    }
    first
}

#[cfg(test)]
mod tests {
    use super::cause;
    use host::lvm::{Lv, LvHealth, LvRole, MissingPart, RaidParts, SegmentType, Vg, VgFault};
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
            pool: None,
            state: None,
            health: LvHealth::Good,
            missing_images: [].into(),
            missing_part: MissingPart::None,
            sync: None,
            integrity_mismatches: 0,
            is_in_transition: false,
            raid_parts: RaidParts::Hidden,
            raid_mismatches: 0,
            has_stale_blocks: false,
        };
        Vg {
            name: name.to_owned(),
            uuid: LvUuid::from_plain(UUID).unwrap(),
            extent_size: Bytes(4 << 20),
            extents: Extents(100),
            free: Extents(1),
            fault,
            change_fault: None,
            max_lvs: None,
            lvs: lvs.iter().map(lv).collect(),
            pvs: vec![],
            system_id: String::new(),
            internal: vec![],
            seqno: 1,
        }
    }

    fn diagnosis(vgs: &[Vg]) -> Option<String> {
        let group = VgName::new("vg0").unwrap();
        let name = LvName::new("data").unwrap();
        let uuid = LvUuid::from_plain(UUID).unwrap();
        cause(vgs, &group, &name, Some(&uuid)).map(|cause| cause.to_string())
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
