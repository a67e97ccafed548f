//! The LVM tags by which a logical volume says whose it is. Written by the agent, the driver and
//! admins, read by agent and driver.

/// Begin of every tag that the agent gives to a claim's volume.
pub const OF_CLAIM: &str = "flexlvm.dev/claim";

/// Begin of the tag that says whose a volume is: the claim's uid follows.
pub const CLAIM_UID: &str = "flexlvm.dev/claim-uid=";

/// Begin of the tag that leads people from an orphan to its claim: namespace and name follow.
pub const CLAIM_NAME: &str = "flexlvm.dev/claim=";

/// Begin of the tag that holds the digest of the volume's key, see [`Key`](crate::Key).
pub const CLAIM_KEY: &str = "flexlvm.dev/claim-key=";

/// Begin of the tag that says which backend a thin pool was made for: its name follows.
pub const THIN_POOL: &str = "flexlvm.dev/thin-pool=";

/// An admin's word that pods may use a volume by its name alone: in PersistentVolumes written by
/// hand, and inline.
pub const STATIC: &str = "flexlvm.dev/static";

/// An admin's word that there is nothing on such a volume, and that the first mount makes the file
/// system.
pub const FORMAT: &str = "flexlvm.dev/format";

/// Begin of the tag by which the driver finds such a volume's format marker again, however large the
/// volume is by then: the size in bytes that the mark stands by follows.
pub const MARKED: &str = "flexlvm.dev/marked-at-size=";

/// Begin of a volume group's tag that names a StorageBackend whose devices it was made of.
pub const BACKEND: &str = "flexlvm.dev/backend=";

#[cfg(test)]
mod tests {
    use super::{CLAIM_KEY, CLAIM_NAME, CLAIM_UID, FORMAT, MARKED, OF_CLAIM, STATIC, THIN_POOL};
    use crate::lvm::names::LvTag;

    #[test]
    fn a_claims_tags_are_known_by_their_begin() {
        assert!(
            [CLAIM_UID, CLAIM_NAME, CLAIM_KEY]
                .iter()
                .all(|tag| tag.starts_with(OF_CLAIM))
        );
        assert!(
            [STATIC, FORMAT, MARKED, THIN_POOL]
                .iter()
                .all(|tag| !tag.starts_with(OF_CLAIM))
        );
        let all = [
            OF_CLAIM, CLAIM_UID, CLAIM_NAME, CLAIM_KEY, STATIC, FORMAT, MARKED, THIN_POOL,
        ];
        assert!(all.iter().all(|&tag| LvTag::new(tag).is_ok()));
    }
}
