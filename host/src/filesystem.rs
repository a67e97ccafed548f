//! File systems on a device: what is on it, make one, grow one. Called by the driver; the agent asks whether a volume
//! that it made is blank. Losing data is decided here: whatever is not positively blank is not blank.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::device::Device;
use crate::error::{Error, Kind};
use crate::exec::{Cmd, Exec, Output};
use crate::size::Bytes;
use crate::superblock;

/// How long blkid has: it reads a few hundred kilobytes.
const PROBE_TIME: Duration = Duration::from_secs(20);

/// The file systems that volumes can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filesystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

impl Filesystem {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Ext4, Self::Xfs];

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fs| fs.name() == name)
    }

    /// Its name, as mount(2), blkid and Kubernetes spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a device carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Positively nothing that blkid knows.
    Blank,
    /// A file system that volumes can have.
    Filesystem(Filesystem),
    /// Something else, in words: "a partition table (dos)".
    Other(String),
}

/// What a device carries, by blkid's low-level probe, which asks no cache. That alone proves no blank: blkid ends with
/// the same silent status when it could not even open the device. So three must agree: blkid and wipefs find nothing,
/// and we can read where they look.
///
/// # Errors
/// When a program fails, hangs, sees several things at once, or the device can't be read. Never taken for blank.
pub fn probe(exec: &dyn Exec, device: &File, path: &Path) -> Result<Probe, Error> {
    let path_text = path.display().to_string();
    let blkid = Cmd::new("blkid").args(["-p", "-o", "export"]).arg(&path_text).timeout(PROBE_TIME);
    if let Some(found) = parse_blkid(&blkid, &exec.exec(&blkid)?)? {
        return Ok(found);
    }
    let start = read_ends(device, path)?;
    let wipefs = Cmd::new("wipefs").args(["--no-act", "--parsable"]).arg(&path_text).timeout(PROBE_TIME);
    let output = exec.exec(&wipefs)?;
    if !output.success() || !output.stderr.is_empty() {
        return Err(output.failed(&wipefs, Kind::Failed));
    }
    if !output.stdout.is_empty() || superblock::has_magic(&start) {
        let detail = format!("nothing on {path_text}, but there is the signature of a file system");
        return Err(Error::Answer { program: "blkid".to_owned(), detail });
    }
    Ok(Probe::Blank)
}

/// Whether a device carries positively nothing.
///
/// # Errors
/// As [`probe`].
pub fn is_blank(exec: &dyn Exec, device: &Device) -> Result<bool, Error> {
    Ok(probe(exec, device.file(), &device.path())? == Probe::Blank)
}

/// Reads where signatures stand, since blkid and wipefs pass over what they can't read. Returns the first bytes.
fn read_ends(device: &File, path: &Path) -> Result<Vec<u8>, Error> {
    const ENDS: usize = 1 << 20;
    let size = crate::device::size_of(device).map_err(Error::io("measure", path))?.0;
    let length = usize::try_from(size).unwrap_or(ENDS).min(ENDS);
    let mut end = vec![0; length];
    device.read_exact_at(&mut end, size - length as u64).map_err(Error::io("read the end of", path))?;
    let mut start = vec![0; length];
    device.read_exact_at(&mut start, 0).map_err(Error::io("read the begin of", path))?;
    Ok(start)
}

/// What blkid's status and `-o export` output mean; `None` for its "nothing, or I could not look".
fn parse_blkid(cmd: &Cmd, output: &Output) -> Result<Option<Probe>, Error> {
    let strange = |detail: String| Err(Error::Answer { program: "blkid".to_owned(), detail });
    match (output.code, output.stdout.is_empty(), output.stderr.is_empty()) {
        (Some(2), true, true) => return Ok(None),
        (Some(8), _, _) => return strange("several file systems at once: nobody can tell which is alive".to_owned()),
        (Some(0), false, _) => {}
        _ => return Err(output.failed(cmd, Kind::Failed)),
    }
    let Ok(text) = std::str::from_utf8(&output.stdout) else {
        return strange("output that is no text".to_owned());
    };
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Ok(Some(match (value("TYPE"), value("PTTYPE")) {
        (Some(name), None) => Filesystem::from_name(name).map_or(Probe::Other(name.to_owned()), Probe::Filesystem),
        (Some(name), Some(table)) => Probe::Other(format!("{name} and a partition table ({table})")),
        (None, Some(table)) => Probe::Other(format!("a partition table ({table})")),
        (None, None) => return strange("no type".to_owned()),
    }))
}

/// Options for mkfs, checked by whoever builds this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MkfsOptions {
    /// Options and their values, one word each.
    pub words: Vec<String>,
    /// What stands in the one `-E` that mkfs.ext4 heeds.
    pub extended: Vec<String>,
}

/// Makes a file system of `size` at the begin of the device, whatever is there. The caller has the proof that nothing
/// is, or nothing but an earlier mkfs of ours that was cut short.
///
/// # Errors
/// When mkfs fails, or is not done in time; the device then carries nobody knows what.
pub fn make(exec: &dyn Exec, fs: Filesystem, plan: &Make<'_>) -> Result<(), Error> {
    let cmd = mkfs(fs, plan);
    let output = exec.exec(&cmd)?;
    if output.success() { Ok(()) } else { Err(output.failed(&cmd, Kind::Failed)) }
}

/// What [`make`] is to do.
#[derive(Clone, Copy, Debug)]
pub struct Make<'a> {
    /// The device.
    pub path: &'a Path,
    /// How large the file system becomes.
    pub size: Bytes,
    /// Further options.
    pub options: &'a MkfsOptions,
    /// How long it has.
    pub time: Duration,
}

/// Never discards: that would take the fresh mark away, and can take minutes.
fn mkfs(fs: Filesystem, plan: &Make<'_>) -> Cmd {
    let path = plan.path.display().to_string();
    let words = plan.options.words.iter().cloned();
    let cmd = match fs {
        Filesystem::Ext4 => {
            let extended = std::iter::once("nodiscard").chain(plan.options.extended.iter().map(String::as_str));
            // Unless asked for, no blocks are kept for root, as the kubelet does it: the volume is all the pod's.
            let reserved: &[&str] = if plan.options.words.iter().any(|word| word == "-m") { &[] } else { &["-m", "0"] };
            Cmd::new("mkfs.ext4")
                .args(["-q", "-F", "-E"])
                .arg(extended.collect::<Vec<_>>().join(","))
                .args(reserved.iter().copied())
                .args(words)
                .arg(path)
                .arg(format!("{}k", plan.size.0 / 1024))
        }
        Filesystem::Xfs => Cmd::new("mkfs.xfs")
            .args(["-q", "-f", "-K"])
            .args(words)
            .args(["-d".to_owned(), format!("size={}", plan.size.0)])
            .arg(path),
    };
    cmd.timeout(plan.time)
}

/// Grows the mounted file system to the size of its device. Nothing happens when it is as large already; it never
/// shrinks.
///
/// # Errors
/// When the program fails or is not done in time; the file system is as sound as before.
pub fn grow(exec: &dyn Exec, fs: Filesystem, path: &Path, point: &Path, time: Duration) -> Result<(), Error> {
    let cmd = match fs {
        Filesystem::Ext4 => Cmd::new("resize2fs").arg(path.display().to_string()),
        Filesystem::Xfs => Cmd::new("xfs_growfs").arg("-d").arg(point.display().to_string()),
    };
    let cmd = cmd.timeout(time);
    let output = exec.exec(&cmd)?;
    if output.success() { Ok(()) } else { Err(output.failed(&cmd, Kind::Failed)) }
}

#[cfg(test)]
mod tests {
    use super::{
        Bytes, Cmd, Duration, Error, Exec, Filesystem, Kind, Make, MkfsOptions, Output, Path, Probe, mkfs, probe,
    };

    type Answer = (Option<i32>, &'static str, &'static str);

    /// Answers blkid and wipefs.
    struct Fake(Answer, Answer);

    impl Exec for Fake {
        fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
            let (code, stdout, stderr) = if cmd.program() == "blkid" { self.0 } else { self.1 };
            Ok(Output { code, stdout: stdout.into(), stderr: stderr.into() })
        }
    }

    const NOTHING: Answer = (Some(2), "", "");
    const SILENT: Answer = (Some(0), "", "");

    fn ask(blkid: Answer, wipefs: Answer) -> Result<Probe, Kind> {
        let device = tempfile::tempfile().unwrap();
        probe(&Fake(blkid, wipefs), &device, Path::new("/dev/x")).map_err(|error| error.kind())
    }

    #[test]
    fn blank_is_what_both_find_nothing_on() {
        assert_eq!(ask(NOTHING, SILENT), Ok(Probe::Blank));
        for blkid in [
            (Some(2), "", "blkid: error: /dev/x: No such file or directory"),
            (Some(2), "TYPE=ext4\n", ""),
            (Some(0), "", ""),
            (Some(0), "DEVNAME=/dev/x\n", ""),
            (Some(1), "", ""),
            (Some(4), "", "usage"),
            (Some(8), "", "ambivalent result"),
            (Some(127), "", ""),
            (None, "", ""),
        ] {
            assert_eq!(ask(blkid, SILENT), Err(Kind::Failed), "{blkid:?}");
        }
        for wipefs in [(Some(0), "0x438,,,ext4\n", ""), (Some(0), "", "warning"), (Some(1), "", ""), (None, "", "")] {
            assert_eq!(ask(NOTHING, wipefs), Err(Kind::Failed), "{wipefs:?}");
        }
    }

    #[test]
    fn what_is_found_has_a_name() {
        let found = |stdout| ask((Some(0), stdout, ""), SILENT).unwrap();
        assert_eq!(found("DEVNAME=/dev/x\nUUID=1\nTYPE=xfs\n"), Probe::Filesystem(Filesystem::Xfs));
        assert_eq!(found("TYPE=LVM2_member\n"), Probe::Other("LVM2_member".to_owned()));
        assert_eq!(found("PTUUID=1\nPTTYPE=dos\n"), Probe::Other("a partition table (dos)".to_owned()));
        assert_eq!(found("TYPE=ext4\nPTTYPE=dos\n"), Probe::Other("ext4 and a partition table (dos)".to_owned()));
    }

    #[test]
    fn mkfs_never_discards_and_ends_before_the_mark() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let line = |fs, options: MkfsOptions| {
            let path = Path::new("/dev/dm-3");
            mkfs(fs, &Make { path, size: Bytes(3 << 20), options: &options, time: Duration::ZERO }).line()
        };
        let none = MkfsOptions::default;
        assert_eq!(line(Filesystem::Ext4, none()), "mkfs.ext4 -q -F -E nodiscard -m 0 /dev/dm-3 3072k");
        assert_eq!(line(Filesystem::Xfs, none()), "mkfs.xfs -q -f -K -d size=3145728 /dev/dm-3");
        let options = MkfsOptions { words: words(&["-m", "5"]), extended: words(&["stride=4"]) };
        assert_eq!(line(Filesystem::Ext4, options), "mkfs.ext4 -q -F -E nodiscard,stride=4 -m 5 /dev/dm-3 3072k");
    }
}
