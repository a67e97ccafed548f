//! Operations that this program executes in the guest, within the guest's server: inspection,
//! folders, and volumes as the agent creates them.
//!
//! The results of the driver are verified with the node's own programs, by `Fixture::shell`.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::fixture::KEPT;
use anyhow::{Context, Result, bail, ensure};
use host::{Bytes, Device, FormatMarker, FormatMarkerBlock, LvName, Roots, VgName};

/// The folder at the front of the search path.
const SHADOWS: &str = "/usr/sbin";

/// Executes one operation of the service.
pub(crate) fn serve(arguments: &[String]) -> Result<String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["read", path] => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
        }
        ["exists", path] => Ok(Path::new(path).exists().to_string()),
        ["folder", path] => {
            std::fs::create_dir_all(path)?;
            Ok(String::new())
        }
        ["write", path, content] => {
            std::fs::create_dir_all(Path::new(path).parent().context("a file is in a folder")?)?;
            std::fs::write(path, content)?;
            Ok(String::new())
        }
        ["checksum", device] => checksum(device),
        ["replace", program, script] => replace(program, script),
        ["undo", program] => {
            std::fs::rename(
                Path::new(KEPT).join(program),
                Path::new(SHADOWS).join(program),
            )?;
            rustix::fs::sync();
            Ok(String::new())
        }
        ["lvcreate", group, volume, arguments @ ..] => make(group, volume, arguments),
        ["mark", group, volume, size, verb] => mark(group, volume, size, verb),
        _ => bail!("{arguments:?} is not an operation of this service"),
    }
}

/// Returns the checksum of the whole device, read from the disk.
fn checksum(device: &str) -> Result<String> {
    rustix::fs::sync();
    let sum = Command::new("sha256sum")
        .stdin(File::open(device)?)
        .output()?;
    ensure!(sum.status.success(), "{sum:?}");
    Ok(String::from_utf8(sum.stdout)?)
}

/// Installs a script in front of a program of the host, which is kept.
fn replace(program: &str, script: &str) -> Result<String> {
    let folders = std::env::var("PATH")?;
    let found = folders
        .split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists());
    let kept = Path::new(KEPT).join(program);
    let shadow = Path::new(SHADOWS).join(program);
    std::fs::create_dir_all(KEPT)?;
    std::fs::copy(
        found.with_context(|| format!("there is no {program}"))?,
        kept,
    )?;
    // The program may be a link to one of another name.
    if shadow.exists() {
        std::fs::remove_file(&shadow)?;
    }
    std::fs::write(&shadow, format!("#!/bin/sh\n{script}\n"))?;
    std::fs::set_permissions(&shadow, Permissions::from_mode(0o755))?;
    rustix::fs::sync();
    Ok(String::new())
}

/// Creates a logical volume and returns its uuid.
fn make(group: &str, volume: &str, arguments: &[&str]) -> Result<String> {
    let made = Command::new("lvcreate")
        .args(["-qq", "-y", "-Wy", "-Zy", "-n", volume])
        .args(arguments)
        .arg(group)
        .output()?;
    ensure!(made.status.success(), "{made:?}");
    let (_, uuid) = Device::find(
        &Roots::current(),
        &VgName::new(group)?,
        &LvName::new(volume)?,
    )?;
    Ok(uuid.to_string())
}

/// Writes or reads a volume's format marker, after dropping the cached pages of the device.
fn mark(group: &str, volume: &str, size: &str, verb: &str) -> Result<String> {
    let (device, uuid) = Device::find(
        &Roots::current(),
        &VgName::new(group)?,
        &LvName::new(volume)?,
    )?;
    let mark = FormatMarkerBlock::new(&uuid, Bytes(size.parse()?))?;
    match verb {
        "unformatted" => mark.write_unformatted(&device.claim()?)?,
        "clear" => mark.clear(&device.claim()?)?,
        "formatting" => {
            let file = device.claim()?;
            mark.write_unformatted(&file)?;
            mark.begin(&file)?;
        }
        _ => {}
    }
    let found = mark.read(device.file())?;
    Ok(match found {
        FormatMarker::None => "none",
        FormatMarker::Unformatted => "unformatted",
        FormatMarker::Formatting => "formatting",
    }
    .to_owned())
}
