//! Probes the content of a device: by reading it if it is blank, else with blkid and wipefs.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::Filesystem;
use super::blank::{read_ends, read_start};
use crate::block::lv_device::Device;
use crate::error::{Error, Kind};
use crate::format_marker::FormatMarkerBlock;
use crate::fs::superblock;
use crate::process::{Cmd, Exec, Output};

/// Time limit of blkid and wipefs, which read a few hundred kilobytes.
const PROBE_TIME: Duration = Duration::from_secs(20);

/// The content of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Positively blank: no known signature.
    Blank,
    /// A supported file system.
    Filesystem(Filesystem),
    /// Another signature, described for messages: "a partition table (dos)".
    Other(String),
}

/// Probes the content of a device, apart from its format marker.
///
/// Starts no program if all bytes are zero. Otherwise runs blkid's low-level probe, which uses no
/// cache. Its result alone does not prove a blank device: blkid exits with the same silent status
/// when it could not even open the device. So three checks must agree: blkid and wipefs find
/// nothing, and there is no signature in the first bytes.
///
/// # Errors
/// When a program fails or times out, finds several signatures, or the device can't be read. An
/// error never counts as blank.
pub fn probe(
    exec: &dyn Exec,
    device: &File,
    path: &Path,
    mark: &FormatMarkerBlock,
) -> Result<Probe, Error> {
    let ends = read_ends(device, path, mark)?;
    if ends.zero {
        return Ok(Probe::Blank);
    }
    run_programs(exec, path, &ends.start)
}

/// The content of a device that FlexLVM did not create and may overwrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Blank: blkid and wipefs find nothing, and its start is all zeros.
    Blank,
    /// A signature that blkid recognizes, described for messages.
    Known(String),
    /// No signature, but the byte at this offset is not zero: unidentified data.
    Unknown(u64),
}

/// Probes a device that may carry data without a signature.
///
/// It is blank only if blkid and wipefs find nothing and its start is zero.
///
/// # Errors
/// As [`probe`].
pub fn examine(exec: &dyn Exec, device: &File, path: &Path) -> Result<Content, Error> {
    let start = read_start(device, path)?;
    Ok(match run_programs(exec, path, &start.bytes)? {
        Probe::Blank => start.first.map_or(Content::Blank, Content::Unknown),
        Probe::Filesystem(filesystem) => Content::Known(filesystem.to_string()),
        Probe::Other(what) => Content::Known(what),
    })
}

/// Probes with blkid and, if it finds nothing, with wipefs and these first bytes.
fn run_programs(exec: &dyn Exec, path: &Path, start: &[u8]) -> Result<Probe, Error> {
    let path_text = path.display().to_string();
    let blkid = Cmd::new("blkid")
        .args(["-p", "-o", "export"])
        .arg(&path_text)
        .timeout(PROBE_TIME);
    if let Some(found) = parse_blkid(&blkid, &exec.exec(&blkid)?)? {
        return Ok(found);
    }
    let wipefs = Cmd::new("wipefs")
        .args(["--no-act", "--parsable"])
        .arg(&path_text)
        .timeout(PROBE_TIME);
    let output = exec.exec(&wipefs)?;
    if !output.success() || !output.stderr.is_empty() {
        return Err(output.failed(&wipefs, Kind::Failed));
    }
    if !output.stdout.is_empty() {
        let types = parse_wipefs(&output.stdout);
        let what = format!("a signature that wipefs finds and blkid does not ({types})");
        return Ok(Probe::Other(what));
    }
    if superblock::has_magic(start) {
        let detail = format!("found nothing on {path_text}, but it has a file system signature");
        return Err(Error::Answer {
            program: "blkid".to_owned(),
            detail,
        });
    }
    Ok(Probe::Blank)
}

/// Returns whether a device is positively blank, apart from its format marker.
///
/// # Errors
/// As [`probe`].
pub fn is_blank(exec: &dyn Exec, device: &Device, mark: &FormatMarkerBlock) -> Result<bool, Error> {
    Ok(probe(exec, device.file(), &device.path(), mark)? == Probe::Blank)
}

/// Returns the types of all signatures in the output of `wipefs --parsable`: the last field of each
/// line.
fn parse_wipefs(stdout: &[u8]) -> String {
    let text = String::from_utf8_lossy(stdout);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let types: Vec<&str> = lines.filter_map(|line| line.rsplit(',').next()).collect();
    types.join(", ")
}

/// Parses blkid's status and `-o export` output; `None` for "found nothing, or can't open".
fn parse_blkid(cmd: &Cmd, output: &Output) -> Result<Option<Probe>, Error> {
    let unexpected = |detail: String| {
        Err(Error::Answer {
            program: "blkid".to_owned(),
            detail,
        })
    };
    match (
        output.code,
        output.stdout.is_empty(),
        output.stderr.is_empty(),
    ) {
        (Some(2), true, true) => return Ok(None),
        (Some(8), _, _) => {
            return unexpected(
                "several file system signatures: the current one can't be determined".to_owned(),
            );
        }
        (Some(0), false, _) => {}
        _ => return Err(output.failed(cmd, Kind::Failed)),
    }
    let Ok(text) = std::str::from_utf8(&output.stdout) else {
        return unexpected("output that is not UTF-8".to_owned());
    };
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    Ok(Some(match (value("TYPE"), value("PTTYPE")) {
        (Some(name), None) => {
            Filesystem::from_name(name).map_or(Probe::Other(name.to_owned()), Probe::Filesystem)
        }
        (Some(name), Some(table)) => {
            Probe::Other(format!("{name} and a partition table ({table})"))
        }
        (None, Some(table)) => Probe::Other(format!("a partition table ({table})")),
        (None, None) => return unexpected("no type".to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::{
        Cmd, Content, Error, Exec, Filesystem, FormatMarkerBlock, Kind, Output, Path, Probe,
        examine, probe,
    };
    use crate::lvm::names::LvUuid;
    use crate::units::Bytes;
    use std::os::unix::fs::FileExt;

    type Answer = (Option<i32>, &'static str, &'static str);

    /// Returns fixed output for blkid and wipefs.
    struct Fake(Answer, Answer);

    impl Exec for Fake {
        fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
            let (code, stdout, stderr) = if cmd.program() == "blkid" {
                self.0
            } else {
                self.1
            };
            Ok(Output {
                code,
                stdout: stdout.into(),
                stderr: stderr.into(),
            })
        }
    }

    /// Panics if a program is run.
    struct Bare;

    impl Exec for Bare {
        fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
            panic!("{} was run", cmd.line())
        }
    }

    const NOTHING: Answer = (Some(2), "", "");
    const SILENT: Answer = (Some(0), "", "");
    /// The copy of a GPT's header, without the one at the start.
    const GPT: Answer = (Some(0), "# offset,uuid,label,type\n0x3fffe00,,,gpt\n", "");
    const GPT_FOUND: &str = "a signature that wipefs finds and blkid does not (gpt)";

    /// Probes a device with these bytes at its start.
    fn probe_device(exec: &dyn Exec, start: &[u8]) -> Result<Probe, Kind> {
        let device = tempfile::tempfile().unwrap();
        device.set_len(8 << 20).unwrap();
        device.write_all_at(start, 0).unwrap();
        let mark = FormatMarkerBlock::new(
            &LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap(),
            Bytes(8 << 20),
        );
        probe(exec, &device, Path::new("/dev/x"), &mark.unwrap()).map_err(|error| error.kind())
    }

    fn probe_with(blkid: Answer, wipefs: Answer) -> Result<Probe, Kind> {
        probe_device(&Fake(blkid, wipefs), b"left over")
    }

    #[test]
    fn probe_starts_no_program_for_zeros() {
        assert_eq!(probe_device(&Bare, &[]), Ok(Probe::Blank));
    }

    #[test]
    fn probe_reports_blank_only_if_all_checks_agree() {
        assert_eq!(probe_with(NOTHING, SILENT), Ok(Probe::Blank));
        assert_eq!(
            probe_device(&Fake(NOTHING, SILENT), b"XFSB"),
            Err(Kind::Failed)
        );
        for blkid in [
            (
                Some(2),
                "",
                "blkid: error: /dev/x: No such file or directory",
            ),
            (Some(2), "TYPE=ext4\n", ""),
            (Some(0), "", ""),
            (Some(0), "DEVNAME=/dev/x\n", ""),
            (Some(1), "", ""),
            (Some(4), "", "usage"),
            (Some(8), "", "ambivalent result"),
            (Some(127), "", ""),
            (None, "", ""),
        ] {
            assert_eq!(probe_with(blkid, SILENT), Err(Kind::Failed), "{blkid:?}");
        }
        for wipefs in [(Some(0), "", "warning"), (Some(1), "", ""), (None, "", "")] {
            assert_eq!(probe_with(NOTHING, wipefs), Err(Kind::Failed), "{wipefs:?}");
        }
    }

    #[test]
    fn signature_of_wipefs_alone_is_no_blank_device() {
        let found = Probe::Other(GPT_FOUND.to_owned());
        assert_eq!(probe_with(NOTHING, GPT), Ok(found));
        let ext4 = (Some(0), "0x438,,,ext4\n0x10018,,,xfs\n", "");
        let found = GPT_FOUND.replace("gpt", "ext4, xfs");
        assert_eq!(probe_with(NOTHING, ext4), Ok(Probe::Other(found)));
    }

    #[test]
    fn examine_reports_blank_only_if_all_checks_agree() {
        let examine_with = |blkid, wipefs, start: &[u8]| {
            let device = tempfile::tempfile().unwrap();
            device.set_len(8 << 20).unwrap();
            device.write_all_at(start, 0).unwrap();
            examine(&Fake(blkid, wipefs), &device, Path::new("/dev/x"))
                .map_err(|error| error.kind())
        };
        assert_eq!(examine_with(NOTHING, SILENT, b""), Ok(Content::Blank));
        assert_eq!(
            examine_with(NOTHING, SILENT, b"\0\0raw"),
            Ok(Content::Unknown(2))
        );
        assert_eq!(
            examine_with((Some(0), "TYPE=ext4\n", ""), SILENT, b""),
            Ok(Content::Known("ext4".to_owned()))
        );
        assert_eq!(
            examine_with(NOTHING, GPT, b""),
            Ok(Content::Known(GPT_FOUND.to_owned()))
        );
        assert_eq!(
            examine_with((Some(2), "", "blkid: error"), SILENT, b""),
            Err(Kind::Failed)
        );
    }

    #[test]
    fn probe_names_found_signature() {
        let found = |stdout| probe_with((Some(0), stdout, ""), SILENT).unwrap();
        assert_eq!(
            found("DEVNAME=/dev/x\nUUID=1\nTYPE=xfs\n"),
            Probe::Filesystem(Filesystem::Xfs)
        );
        assert_eq!(
            found("TYPE=LVM2_member\n"),
            Probe::Other("LVM2_member".to_owned())
        );
        assert_eq!(
            found("PTUUID=1\nPTTYPE=dos\n"),
            Probe::Other("a partition table (dos)".to_owned())
        );
        assert_eq!(
            found("TYPE=ext4\nPTTYPE=dos\n"),
            Probe::Other("ext4 and a partition table (dos)".to_owned())
        );
    }
}
