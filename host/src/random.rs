//! Random bytes, and uuids of them.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use storage_model::key::hex;

use crate::lvm::names::LvUuid;

/// Generates a new, unique uuid for LVM.
///
/// # Errors
/// When the kernel returns no random bytes.
pub fn lv_uuid() -> io::Result<LvUuid> {
    let digits = hex(&random_bytes::<16>()?);
    LvUuid::from_plain(&digits).ok_or_else(|| io::Error::other("no uuid"))
}

/// Returns unpredictable bytes.
pub(crate) fn random_bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}
