//! What this program does in the guest itself, within the guest's server: it looks, makes folders,
//! and makes volumes as the agent does. What the driver has to prove is looked at with the node's
//! own programs, by `Stage::shell`.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::stage::KEPT;
use anyhow::{Context, Result, bail, ensure};
use host::{Bytes, Device, FormatMarker, FormatMarkerBlock, LvName, Roots, VgName};

/// Where programs are found first.
const SHADOWS: &str = "/usr/sbin";

/// The words that there are.
pub(crate) fn serve(words: &[String]) -> Result<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
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
        _ => bail!("{words:?} is nothing that is served"),
    }
}

/// Of the whole device, as it is on the disk.
fn checksum(device: &str) -> Result<String> {
    rustix::fs::sync();
    let sum = Command::new("sha256sum")
        .stdin(File::open(device)?)
        .output()?;
    ensure!(sum.status.success(), "{sum:?}");
    Ok(String::from_utf8(sum.stdout)?)
}

/// Puts a script before a program of the host's, which is kept.
fn replace(program: &str, script: &str) -> Result<String> {
    let folders = std::env::var("PATH")?;
    let found = folders
        .split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists());
    let (kept, shadow) = (
        Path::new(KEPT).join(program),
        Path::new(SHADOWS).join(program),
    );
    std::fs::create_dir_all(KEPT)?;
    std::fs::copy(
        found.with_context(|| format!("there is no {program}"))?,
        kept,
    )?;
    // It may be a link to a program of another name.
    if shadow.exists() {
        std::fs::remove_file(&shadow)?;
    }
    std::fs::write(&shadow, format!("#!/bin/sh\n{script}\n"))?;
    std::fs::set_permissions(&shadow, Permissions::from_mode(0o755))?;
    rustix::fs::sync();
    Ok(String::new())
}

/// Makes a logical volume, and returns its uuid.
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

/// Writes a volume's mark, or reads it, after what is cached of the device was dropped.
fn mark(group: &str, volume: &str, size: &str, verb: &str) -> Result<String> {
    let (device, uuid) = Device::find(
        &Roots::current(),
        &VgName::new(group)?,
        &LvName::new(volume)?,
    )?;
    let mark = FormatMarkerBlock::new(&uuid, Bytes(size.parse()?))?;
    match verb {
        "fresh" => mark.write_unformatted(&device.claim()?)?,
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
        FormatMarker::Unformatted => "fresh",
        FormatMarker::Formatting => "formatting",
    }
    .to_owned())
}
