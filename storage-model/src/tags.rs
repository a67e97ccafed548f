//! The LVM tags that identify the owner of a logical volume. Written by the agent, the driver and
//! admins, read by agent and driver.

/// Prefix of all tags that the agent sets on a claim's volume.
pub const OF_CLAIM: &str = "flexlvm.dev/claim";

/// Prefix of the owner's tag, followed by the claim's uid.
pub const CLAIM_UID: &str = "flexlvm.dev/claim-uid=";

/// Prefix of the tag by which an admin finds the claim of an orphan: namespace and name follow.
pub const CLAIM_NAME: &str = "flexlvm.dev/claim=";

/// Prefix of the tag with the digest of the volume's key, see [`Key`](crate::Key).
pub const CLAIM_KEY: &str = "flexlvm.dev/claim-key=";

/// Prefix of the tag with the uid of the LogicalVolume that a claim's volume was created for.
///
/// A volume with the uid of another LogicalVolume was in use before its LogicalVolume was restored
/// from a backup.
pub const OBJECT_UID: &str = "flexlvm.dev/logicalvolume-uid=";

/// Set by an admin on a claim's volume, to confirm that its data is this claim's even if its status
/// and its other tags do not show that.
pub const RESTORED: &str = "flexlvm.dev/logicalvolume-uid=restored";

/// Prefix of the tag with what an Adoption needs to make the objects of a claim's volume again:
/// backend, class, layout, file system, access modes and the size at creation.
pub const RECORD: &str = "flexlvm.dev/volume=";

/// Prefix of the tag that names the StorageBackend of a thin pool.
pub const THIN_POOL: &str = "flexlvm.dev/thin-pool=";

/// Set by an admin: pods may use the volume by its name alone, in PersistentVolumes written by
/// hand, and inline.
pub const STATIC: &str = "flexlvm.dev/static";

/// Set by an admin: such a volume is empty, and its first mount makes the file system.
pub const FORMAT: &str = "flexlvm.dev/format";

/// Prefix of the tag with the size in bytes that determines such a volume's format marker position.
///
/// The driver needs it after the volume has grown.
pub const MARKED: &str = "flexlvm.dev/marked-at-size=";

/// Prefix of a volume group's tag that names the StorageBackend whose devices it consists of.
pub const BACKEND: &str = "flexlvm.dev/backend=";

#[cfg(test)]
mod tests {
    use super::{
        CLAIM_KEY, CLAIM_NAME, CLAIM_UID, FORMAT, MARKED, OBJECT_UID, OF_CLAIM, RECORD, RESTORED,
        STATIC, THIN_POOL,
    };
    use crate::names::LvTag;

    #[test]
    fn claim_tags_share_their_prefix() {
        assert!(
            [CLAIM_UID, CLAIM_NAME, CLAIM_KEY]
                .iter()
                .all(|tag| tag.starts_with(OF_CLAIM))
        );
        assert!(
            [STATIC, FORMAT, MARKED, OBJECT_UID, RECORD, THIN_POOL]
                .iter()
                .all(|tag| !tag.starts_with(OF_CLAIM))
        );
        let all = [
            OF_CLAIM, CLAIM_UID, CLAIM_NAME, CLAIM_KEY, STATIC, FORMAT, MARKED, OBJECT_UID, RECORD,
            RESTORED, THIN_POOL,
        ];
        assert!(RESTORED.starts_with(OBJECT_UID));
        assert!(all.iter().all(|&tag| LvTag::new(tag).is_ok()));
    }
}
