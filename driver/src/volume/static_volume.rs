//! Static volumes: an admin created and tagged them; hand-written PersistentVolumes and pods'
//! inline volumes name them without a UUID.

use host::fs::is_blank;
use host::lvm::tags::{FORMAT, MARKED, OF_CLAIM, STATIC};
use host::lvm::{Lv, Lvm};
use host::{Bytes, Device, FormatMarkerBlock, LvName, LvTag, VgName};

use crate::error::Error;
use crate::mounting::plan::Refusal;
use crate::volume::context::Node;
use crate::volume::diagnose;
use crate::volume::identity::{Volume, VolumeIdentity};

/// Why a volume may not be used by its name alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StaticVolumeError {
    /// It belongs to a claim.
    #[error(
        "logical volume {volume} belongs to a claim (its tag is {tag}): only the claim's own PersistentVolume, whose \
         options hold the uuid, can mount it"
    )]
    Claimed {
        /// `<group>/<name>`.
        volume: String,
        /// The claim's tag.
        tag: String,
    },
    /// It has no tag that permits its use by name.
    #[error(
        "logical volume {volume} is named without its uuid, and has no tag that allows that; to let pods use it, run on \
         its node: lvchange --addtag {STATIC} {volume}"
    )]
    NotTagged {
        /// `<group>/<name>`.
        volume: String,
    },
}

impl From<StaticVolumeError> for Error {
    fn from(error: StaticVolumeError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Returns the volume of this name, according to LVM's current report.
///
/// # Errors
/// When it is not tagged for this, does not exist, or LVM's report fails.
pub(crate) fn find(node: &Node<'_>, group: &VgName, name: &LvName) -> Result<Volume, Error> {
    Ok(allow(group, name, &read_lv(node, group, name)?)?)
}

fn read_lv(node: &Node<'_>, group: &VgName, name: &LvName) -> Result<Lv, Error> {
    Lvm(node)
        .volume(group, name)
        .map_err(|error| diagnose::explain(node, group, name, None, error))
}

/// Checks the tags of a volume. Pure.
fn allow(group: &VgName, name: &LvName, found: &Lv) -> Result<Volume, StaticVolumeError> {
    let volume = format!("{group}/{name}");
    if let Some(tag) = found.tags.iter().find(|tag| tag.starts_with(OF_CLAIM)) {
        return Err(StaticVolumeError::Claimed {
            volume,
            tag: tag.clone(),
        });
    }
    if !found.has_tag(STATIC) {
        return Err(StaticVolumeError::NotTagged { volume });
    }
    let identity = VolumeIdentity {
        group: group.clone(),
        name: name.clone(),
        uuid: found.uuid.clone(),
    };
    let to_format = found.has_tag(FORMAT);
    // The volume may have been extended since the marker was written.
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

/// Returns the size in bytes of the volume when its marker was written.
///
/// A volume that was reduced since has no marker any more.
fn marked_at(found: &Lv) -> Option<Bytes> {
    let sizes = found
        .tags
        .iter()
        .filter_map(|tag| tag.strip_prefix(MARKED)?.parse().ok().map(Bytes));
    sizes.filter(|size| *size <= found.size).max()
}

/// Prepares the first mount of a volume whose tag marks it as empty: replaces the tag by a format
/// marker if the volume is blank.
///
/// From then on it is handled like a claim's volume, even after an interruption. The caller holds
/// the lock.
///
/// # Errors
/// When a step fails; the next call starts again.
pub(crate) fn initialize_static(
    node: &Node<'_>,
    volume: &Volume,
    device: &Device,
    marker: &FormatMarkerBlock,
    may_format: bool,
) -> Result<(), Error> {
    if !volume.to_format {
        return Ok(());
    }
    // Another call may have finished it while this one waited for the lock.
    let VolumeIdentity { group, name, .. } = &volume.identity;
    let found = read_lv(node, group, name)?;
    let now = allow(group, name, &found)?;
    if (&now.identity, now.size) != (&volume.identity, volume.size) {
        let message = format!(
            "logical volume {volume} was changed while it was being mounted; Kubernetes retries"
        );
        return Err(Error::Failed(message));
    }
    if !now.to_format {
        return Ok(());
    }
    // The exclusive claim begins before the device is examined, and ends after the marker is
    // written, so that no other program can use the device meanwhile.
    let claimed = if may_format {
        Some(device.claim())
    } else {
        None
    };
    let blank = is_blank(node, device, marker)?;
    let Some(claimed) = claimed else {
        return if blank {
            Err(Refusal::ReadOnly.of(&volume.to_string()))
        } else {
            Ok(())
        };
    };
    if blank {
        marker.write_unformatted(&claimed?)?;
    }
    // From now on the volume may hold data: the tag must be gone before it does.
    replace_tag(node, volume, &found, blank.then_some(volume.size))?;
    if find(node, group, name)?.to_format {
        let message =
            format!("LVM reported success, but logical volume {volume} still has the tag {FORMAT}");
        return Err(Error::Failed(message));
    }
    Ok(())
}

/// Removes the tag that marks the volume as empty, and adds one with the position of the marker, in
/// one LVM command.
fn replace_tag(
    node: &Node<'_>,
    volume: &Volume,
    found: &Lv,
    marked_at: Option<Bytes>,
) -> Result<(), Error> {
    let VolumeIdentity { group, name, uuid } = &volume.identity;
    let new = match marked_at {
        Some(size) => vec![new_tag(&format!("{MARKED}{}", size.0))?],
        None => Vec::new(),
    };
    let mut old = Vec::new();
    for tag in &found.tags {
        // Including tags of earlier preparations.
        if tag == FORMAT || tag.starts_with(MARKED) {
            let tag = new_tag(tag)?;
            // A tag that the same command removes and adds would be missing afterwards.
            if !new.contains(&tag) {
                old.push(tag);
            }
        }
    }
    Ok(Lvm(node).change_tags(group, name, uuid, &old, &new)?)
}

fn new_tag(text: &str) -> Result<LvTag, Error> {
    LvTag::new(text).map_err(|error| Error::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{StaticVolumeError, allow};
    use host::lvm::{Lv, LvHealth, LvRole, MissingPart, RaidParts, SegmentType};
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
    fn use_by_name_needs_an_admins_tag() {
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
    fn marker_position_comes_from_its_tag() {
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
        let now = 1 << 30;
        let before = 1 << 29;
        assert_eq!(size(&[]), now);
        assert_eq!(size(&["flexlvm.dev/marked-at-size=536870912"]), before);
        assert_eq!(
            size(&["flexlvm.dev/marked-at-size=536870912", "flexlvm.dev/format"]),
            now,
            "with both tags"
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
    fn claims_volume_is_never_used_by_name() {
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
