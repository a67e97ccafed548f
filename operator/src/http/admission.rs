//! Counts open connections, in total and per address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The open connections, and how many there may be.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    limit: usize,
    limit_per_address: usize,
}

/// An admitted connection: counted until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    pub(super) fn new(limit: usize, limit_per_address: usize) -> Self {
        Self {
            open: Arc::default(),
            limit,
            limit_per_address,
        }
    }

    /// Admits a connection from an address, or returns `None` if a limit is reached.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admitted> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = open.values().sum();
        let of_address = open.get(&address).copied().unwrap_or_default();
        if total >= self.limit || of_address >= self.limit_per_address {
            return None;
        }
        open.insert(address, of_address + 1);
        Some(Admitted {
            admission: self.clone(),
            address,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let open = &self.admission.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.address);
            }
        }
    }
}
