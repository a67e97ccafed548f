//! Volumes that an admin made and tagged, which PersistentVolumes written by hand and pods
//! themselves name without a uuid.

use host::fs::is_blank;
use host::lvm::tags::{FORMAT, MARKED, OF_CLAIM, STATIC};
use host::lvm::{Lv, Lvm};
use host::{Bytes, Device, Error as HostError, FormatMarkerBlock, Kind, LvName, LvTag, VgName};

use crate::error::Error;
use crate::mounting::plan::Refusal;
use crate::volume::context::Node;
use crate::volume::diagnose;
use crate::volume::identity::{Volume, VolumeIdentity};

/// Why a volume can't be had by its name alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StaticVolumeError {
    /// A claim has it.
    #[error(
        "logical volume {volume} belongs to a claim (its tag is {tag}): only the claim's own PersistentVolume, whose \
         options hold the uuid, can have it mounted"
    )]
    Claimed {
        /// `<group>/<name>`.
        volume: String,
        /// The tag that says so.
        tag: String,
    },
    /// Nobody said that it may be used.
    #[error(
        "logical volume {volume} is named without its uuid, and has no tag that allows that; if pods may use it, say \
         so on its node: lvchange --addtag {STATIC} {volume}"
    )]
    NotTagged {
        /// `<group>/<name>`.
        volume: String,
    },
}

/// The volume of this name, by what LVM says of it now.
///
/// # Errors
/// When it is not tagged for this, or isn't there, or LVM doesn't say.
pub(crate) fn find(node: &Node<'_>, group: &VgName, name: &LvName) -> Result<Volume, Error> {
    Ok(allow(group, name, &look(node, group, name)?)?)
}

fn look(node: &Node<'_>, group: &VgName, name: &LvName) -> Result<Lv, HostError> {
    Lvm(node)
        .volume(group, name)
        .map_err(|error| diagnose::explain(node, group, name, None, error))
}

/// Whether the volume may be used. Pure.
fn allow(group: &VgName, name: &LvName, found: &Lv) -> Result<Volume, StaticVolumeError> {
    let volume = || format!("{group}/{name}");
    if let Some(tag) = found.tags.iter().find(|tag| tag.starts_with(OF_CLAIM)) {
        return Err(StaticVolumeError::Claimed {
            volume: volume(),
            tag: tag.clone(),
        });
    }
    if !found.has_tag(STATIC) {
        return Err(StaticVolumeError::NotTagged { volume: volume() });
    }
    let identity = VolumeIdentity {
        group: group.clone(),
        name: name.clone(),
        uuid: found.uuid.clone(),
    };
    let to_format = found.has_tag(FORMAT);
    // It may have grown since the mark was written.
    let size = if to_format {
        found.size
    } else {
        marked_at(found).unwrap_or(found.size)
    };
    Ok(Volume {
        identity,
        size,
        to_format,
    })
}

/// How large the volume was when its mark was written. One that was made smaller since has none any
/// more.
fn marked_at(found: &Lv) -> Option<Bytes> {
    let sizes = found
        .tags
        .iter()
        .filter_map(|tag| tag.strip_prefix(MARKED)?.parse().ok().map(Bytes));
    sizes.filter(|size| *size <= found.size).max()
}

/// Before the first mount of a volume that is tagged as having nothing on it: its format marker takes
/// the tag's place, if it is blank. From then on it is as a claim's volume, whatever is cut short.
/// The lock is held.
///
/// # Errors
/// When something can't be done; the next call begins again.
pub(crate) fn initialize_static(
    node: &Node<'_>,
    volume: &Volume,
    device: &Device,
    mark: &FormatMarkerBlock,
    may_format: bool,
) -> Result<(), Error> {
    if !volume.to_format {
        return Ok(());
    }
    // Another call may have done it while this one waited for the lock.
    let VolumeIdentity { group, name, .. } = &volume.identity;
    let found = look(node, group, name)?;
    let now = allow(group, name, &found)?;
    if (&now.identity, now.size) != (&volume.identity, volume.size) {
        let message = format!(
            "logical volume {volume} was changed while it was being mounted; it is tried again"
        );
        return Err(HostError::refused(Kind::Busy, message).into());
    }
    if !now.to_format {
        return Ok(());
    }
    // Taken before the look, and kept until the mark is written: nobody else can use the device
    // meanwhile.
    let claimed = may_format.then(|| device.claim());
    let blank = is_blank(node, device, mark)?;
    let Some(claimed) = claimed else {
        let refused = Error::Refused {
            volume: volume.to_string(),
            source: Refusal::ReadOnly,
        };
        return if blank { Err(refused) } else { Ok(()) };
    };
    if blank {
        mark.write_unformatted(&claimed?)?;
    }
    // What is on it from now on is worth keeping: the tag must not outlive it.
    replace_tag(node, volume, &found, blank.then_some(volume.size))?;
    if find(node, group, name)?.to_format {
        let message = format!(
            "LVM did not take the tag {FORMAT} off logical volume {volume}, though it says so"
        );
        return Err(HostError::refused(Kind::Failed, message).into());
    }
    Ok(())
}

/// Takes the tag off that says that there is nothing on the volume; in the same moment another says
/// where the mark is.
fn replace_tag(
    node: &Node<'_>,
    volume: &Volume,
    found: &Lv,
    marked_at: Option<Bytes>,
) -> Result<(), HostError> {
    let VolumeIdentity { group, name, uuid } = &volume.identity;
    let tag = |text: String| {
        LvTag::new(text).map_err(|error| HostError::refused(Kind::Invalid, error.to_string()))
    };
    // Those of earlier times, too.
    let old = found
        .tags
        .iter()
        .filter(|tag| *tag == FORMAT || tag.starts_with(MARKED));
    let old = old
        .map(|text| tag(text.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    let new = marked_at
        .map(|size| tag(format!("{MARKED}{}", size.0)))
        .transpose()?;
    // LVM takes one off and gives it in the same command, and would be left without it.
    let old: Vec<_> = old
        .into_iter()
        .filter(|tag| new.as_ref() != Some(tag))
        .collect();
    Lvm(node).change_tags(group, name, uuid, &old, new.as_slice())
}

#[cfg(test)]
mod tests {
    use super::{StaticVolumeError, allow};
    use host::lvm::{Lv, LvKind};
    use host::{Bytes, LvName, LvUuid, VgName};
    use std::collections::BTreeMap;

    fn lv(tags: &[&str]) -> Lv {
        Lv {
            name: "data".to_owned(),
            uuid: LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap(),
            size: Bytes(1 << 30),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            active: true,
            open: false,
            kind: LvKind::Plain,
            shares: BTreeMap::new(),
            integrity: false,
            made: 0,
            pool: None,
            state: None,
        }
    }

    fn tagged(tags: &[&str]) -> Result<bool, StaticVolumeError> {
        let lv = lv(tags);
        let allowed = allow(
            &VgName::new("vg0").unwrap(),
            &LvName::new("data").unwrap(),
            &lv,
        )?;
        assert_eq!(allowed.identity.uuid, lv.uuid);
        Ok(allowed.to_format)
    }

    #[test]
    fn only_an_admins_tag_allows_a_name_alone() {
        assert_eq!(tagged(&["flexlvm.dev/static"]), Ok(false));
        assert_eq!(
            tagged(&["x", "flexlvm.dev/format", "flexlvm.dev/static"]),
            Ok(true)
        );
        for tags in [
            &[][..],
            &["flexlvm.dev/format"],
            &["static"],
            &["flexlvm.dev/static2"],
        ] {
            let error = tagged(tags).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("lvchange --addtag flexlvm.dev/static vg0/data"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_mark_is_where_it_was_written() {
        let size = |tags: &[&str]| {
            let tags = [tags, &["flexlvm.dev/static"]].concat();
            allow(
                &VgName::new("vg0").unwrap(),
                &LvName::new("data").unwrap(),
                &lv(&tags),
            )
            .unwrap()
            .size
            .0
        };
        let (now, before) = (1 << 30, 1 << 29);
        assert_eq!(size(&[]), now);
        assert_eq!(size(&["flexlvm.dev/marked-at-size=536870912"]), before);
        assert_eq!(
            size(&["flexlvm.dev/marked-at-size=536870912", "flexlvm.dev/format"]),
            now,
            "once more"
        );
        for bad in [
            "flexlvm.dev/marked-at-size=",
            "flexlvm.dev/marked-at-size=1x",
            "flexlvm.dev/marked-at-size=1073741825",
        ] {
            assert_eq!(size(&[bad]), now, "{bad}");
        }
    }

    #[test]
    fn a_claims_volume_is_never_had_by_its_name() {
        for tag in [
            "flexlvm.dev/claim-uid=1",
            "flexlvm.dev/claim=default/data",
            "flexlvm.dev/claims-of-later-versions",
        ] {
            let error = tagged(&["flexlvm.dev/static", "flexlvm.dev/format", tag]).unwrap_err();
            assert!(
                matches!(&error, StaticVolumeError::Claimed { tag: named, .. } if named == tag),
                "{error}"
            );
        }
    }
}
