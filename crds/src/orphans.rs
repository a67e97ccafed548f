//! Whether a node reports a logical volume with the tag of a claim, also among those that the report
//! omits because of its limit. Pure.

use crate::hash;
use crate::node_storage::{NodeStorageStatus, OrphanedVolume};

/// Maximum number of claims in [`NodeStorageStatus::further_orphans`].
pub const MAX_FURTHER_ORPHANS: usize = 10_000;

/// Digits of a claim's digest. Of 10,000 orphans, one in 28 billion other claims has a digest.
const DIGITS: usize = 12;

/// A logical volume with the tag of a claim, without a LogicalVolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanOf<'a> {
    /// This one.
    Listed(&'a OrphanedVolume),
    /// One that the list of the report omits: its name is unknown.
    Unlisted,
}

impl NodeStorageStatus {
    /// Returns the node's logical volume with the tag of this claim, if the report has one.
    ///
    /// A number alone, such as `audit.orphaned`, never counts: one node could then hold back the claims
    /// of all others.
    #[must_use]
    pub fn orphan_of(&self, claim_uid: &str) -> Option<OrphanOf<'_>> {
        let mut listed = self.orphans.iter();
        if let Some(orphan) = listed.find(|orphan| orphan.claim_uid == claim_uid) {
            return Some(OrphanOf::Listed(orphan));
        }
        let further = self.further_orphans.as_deref().unwrap_or_default();
        let wanted = digest(claim_uid);
        let mut digests = further.as_bytes().chunks(DIGITS);
        let is_further = digests.any(|digest| digest == wanted.as_bytes());
        is_further.then_some(OrphanOf::Unlisted)
    }
}

/// Returns the digests of the claims with these uids, for [`NodeStorageStatus::further_orphans`];
/// `None` without any.
#[must_use]
pub fn digests<'a>(claim_uids: impl Iterator<Item = &'a str>) -> Option<String> {
    let digests: String = claim_uids.take(MAX_FURTHER_ORPHANS).map(digest).collect();
    (!digests.is_empty()).then_some(digests)
}

fn digest(claim_uid: &str) -> String {
    let mut digest = format!("{:016x}", hash(claim_uid));
    digest.truncate(DIGITS);
    digest
}

#[cfg(test)]
mod tests {
    use super::{DIGITS, MAX_FURTHER_ORPHANS, OrphanOf, digests};
    use crate::node_storage::{NodeStorageStatus, OrphanedVolume};

    fn status(listed: &[&str], further: &[String]) -> NodeStorageStatus {
        let orphans = listed.iter().map(|uid| OrphanedVolume {
            claim_uid: (*uid).to_owned(),
            claim: None,
            volume_group: "vg0".to_owned(),
            name: format!("pvc-{uid}"),
        });
        NodeStorageStatus {
            orphans: orphans.collect(),
            further_orphans: digests(further.iter().map(String::as_str)),
            ..NodeStorageStatus::default()
        }
    }

    fn uids(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("uid-{number}")).collect()
    }

    #[test]
    fn omitted_orphan_is_found_by_its_digest() {
        let further = uids(2000);
        let status = status(&["a"], &further);
        assert!(
            matches!(status.orphan_of("a"), Some(OrphanOf::Listed(orphan)) if orphan.name == "pvc-a")
        );
        for uid in &further {
            assert_eq!(status.orphan_of(uid), Some(OrphanOf::Unlisted), "{uid}");
        }
        for other in ["b", "", "uid-", "uid-2000", "UID-1"] {
            assert_eq!(status.orphan_of(other), None, "{other}");
        }
    }

    #[test]
    fn number_of_digests_is_limited() {
        let further = uids(MAX_FURTHER_ORPHANS + 1);
        let status = status(&[], &further);
        let digests = status.further_orphans.as_deref().unwrap();
        assert_eq!(digests.len(), MAX_FURTHER_ORPHANS * DIGITS);
        assert!(status.orphan_of(&further[0]).is_some());
        assert_eq!(NodeStorageStatus::default().orphan_of("b"), None);
    }
}
