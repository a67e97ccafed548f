//! Unmounting in another mount namespace than ours, by the program `umount` there.

use std::path::Path;

use super::mountinfo;
use crate::error::{Error, Kind};
use crate::process::{Cmd, Exec};

/// Unmounts what has this id in this table, unless something is stacked on it, and removes the
/// empty folder.
///
/// # Errors
/// When something uses it, or a program fails.
pub fn unmount(exec: &dyn Exec, table: &Path, id: u64, point: &Path) -> Result<(), Error> {
    let mounted = || -> Result<Vec<u64>, Error> {
        let mounts = mountinfo::read(table)?;
        Ok(mountinfo::at(&mounts, point)
            .iter()
            .map(|mount| mount.id)
            .collect())
    };
    let Some(path) = point.to_str() else {
        let message = format!("{} is not UTF-8: unmount it by hand", point.display());
        return Err(Error::failed(message));
    };
    // One that is stacked on it goes first.
    if mounted()?.last() != Some(&id) {
        return Ok(());
    }
    // Plainly: without helpers, without following links; never lazily and never by force.
    run(
        exec,
        &Cmd::new("umount").args(["--no-canonicalize", "--internal-only", path]),
    )?;
    if mounted()?.is_empty() {
        run(exec, &Cmd::new("rmdir").args(["--", path]))
    } else {
        Ok(())
    }
}

fn run(exec: &dyn Exec, cmd: &Cmd) -> Result<(), Error> {
    let output = exec.exec(cmd)?;
    if output.success() {
        Ok(())
    } else {
        Err(output.failed(cmd, Kind::Busy))
    }
}
