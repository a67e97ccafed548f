//! The acknowledged writes of each claim: what must be there at the end. Pure.

use std::collections::BTreeMap;

/// The acknowledged writes, by the number of their claim.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(BTreeMap<u32, Vec<Acknowledged>>);

/// A file whose content a node has synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Number of the write within its claim.
    pub(crate) number: u32,
    /// Size of the file in KiB.
    pub(crate) kib: u32,
}

impl Ledger {
    /// Records a write. Call it only once the node has synced it.
    pub(crate) fn acknowledge(&mut self, claim: u32, number: u32, kib: u32) {
        let writes = self.0.entry(claim).or_default();
        writes.push(Acknowledged { number, kib });
    }

    /// Returns the acknowledged writes of a claim.
    pub(crate) fn of(&self, claim: u32) -> &[Acknowledged] {
        self.0.get(&claim).map_or(&[], Vec::as_slice)
    }

    /// Returns the number of acknowledged writes, and their sum in KiB.
    pub(crate) fn total(&self) -> Total {
        let all = || self.0.values().flatten();
        Total {
            writes: all().count(),
            kib: all().map(|write| u64::from(write.kib)).sum(),
        }
    }
}

/// The sum of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) writes: usize,
    pub(crate) kib: u64,
}

#[cfg(test)]
mod tests {
    use super::{Acknowledged, Ledger, Total};

    #[test]
    fn ledger_holds_writes_by_claim() {
        let mut ledger = Ledger::default();
        ledger.acknowledge(1, 0, 4);
        ledger.acknowledge(1, 2, 8);
        ledger.acknowledge(3, 0, 1);
        assert_eq!(ledger.of(1)[1], Acknowledged { number: 2, kib: 8 });
        assert!(ledger.of(2).is_empty());
        assert_eq!(ledger.total(), Total { writes: 3, kib: 13 });
    }
}
