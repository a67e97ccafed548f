//! Parses `/proc/self/mountinfo`. Pure, but for [`read`].

use crate::block::dev_num::DevNum;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// One mount in this process's mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Mount id; unique as long as the mount exists.
    pub id: u64,
    /// Id of the parent mount.
    pub parent: u64,
    /// Major and minor number of the file system; [`lookup`](crate::stack::lookup) determines
    /// whether that is a block device.
    pub device: DevNum,
    /// Folder of the file system that is mounted: `/` unless it is a bind mount of a subfolder.
    pub root: PathBuf,
    /// The mount point.
    pub point: PathBuf,
    /// Whether this mount, not the whole file system, is read-only.
    pub read_only: bool,
    /// The file system's type.
    pub fs: String,
    /// The source named at mount time; informational.
    pub source: PathBuf,
    /// Whether the whole file system is read-only.
    pub fs_read_only: bool,
}

/// Usual maximum size of a table in bytes: few reads return it, between which mounts may change.
const TABLE: usize = 64 << 10;

/// Reads every mount of this process's mount namespace, in the kernel's order.
///
/// # Errors
/// When the table can't be read, or has a malformed line: an overlooked mount would be worse.
pub fn read(table: &Path) -> Result<Vec<Mount>, Error> {
    let mut text = Vec::with_capacity(TABLE);
    File::open(table)
        .and_then(|mut table| table.read_to_end(&mut text))
        .map_err(Error::io("read", table))?;
    parse(&text).map_err(|line| Error::Answer {
        program: table.display().to_string(),
        detail: format!("{:?}", String::from_utf8_lossy(&line)),
    })
}

/// Parses the text of a mountinfo file.
///
/// # Errors
/// The first malformed line.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>, Vec<u8>> {
    text.split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| parse_line(line).ok_or_else(|| line.to_vec()))
        .collect()
}

/// Returns the mounts whose mount point is exactly `point`, the topmost one last.
#[must_use]
pub fn at<'a>(mounts: &'a [Mount], point: &Path) -> Vec<&'a Mount> {
    let mut left: Vec<&Mount> = mounts
        .iter()
        .filter(|mount| mount.point.as_os_str() == point.as_os_str())
        .collect();
    let mut sorted = Vec::with_capacity(left.len());
    // A stacked mount has the one below it as its parent. The order of the lines means nothing
    // (Linux 6.8).
    while !left.is_empty() {
        let lowest = left
            .iter()
            .position(|mount| left.iter().all(|other| other.id != mount.parent))
            .unwrap_or(0);
        sorted.push(left.remove(lowest));
    }
    sorted
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, see proc(5).
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = DevNum::parse(str::from_utf8(fields.next()?).ok()?)?;
    let root = path(fields.next()?);
    let point = path(fields.next()?);
    let options = fields.next()?;
    fields.by_ref().find(|field| *field == b"-")?;
    let fs = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = path(fields.next()?);
    let fs_options = fields.next().unwrap_or_default();
    let read_only = is_read_only(options);
    let fs_read_only = is_read_only(fs_options);
    Some(Mount {
        id,
        parent,
        device,
        root,
        point,
        read_only,
        fs,
        source,
        fs_read_only,
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn is_read_only(options: &[u8]) -> bool {
    options.split(|&b| b == b',').any(|option| option == b"ro")
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// The kernel writes space, tab, newline, backslash and `#` as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            rest.get(4..).unwrap_or_default()
        } else {
            after
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Mount, at, parse, read, unescape};
    use crate::block::dev_num::DevNum;
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    /// Escapes a path as the kernel does in the table.
    fn escape(path: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &b in path.as_os_str().as_bytes() {
            if matches!(b, b' ' | b'\t' | b'\n' | b'\\' | b'#') {
                bytes.extend([b'\\', b'0' + (b >> 6), b'0' + (b >> 3 & 7), b'0' + (b & 7)]);
            } else {
                bytes.push(b);
            }
        }
        bytes
    }

    fn line(id: u64, parent: u64, point: &str) -> String {
        format!(
            "{id} {parent} 254:3 / {point} rw,relatime shared:7 master:1 - ext4 /dev/mapper/a-b ro,x=y\n"
        )
    }

    #[test]
    fn parse_reads_every_field() {
        let mounts = parse(line(36, 35, "/a\\040b").as_bytes()).unwrap();
        let expected = Mount {
            id: 36,
            parent: 35,
            device: DevNum::new(254, 3),
            root: "/".into(),
            point: "/a b".into(),
            read_only: false,
            fs: "ext4".into(),
            source: "/dev/mapper/a-b".into(),
            fs_read_only: true,
        };
        assert_eq!(mounts, [expected]);
    }

    #[test]
    fn parse_accepts_lines_without_optional_fields() {
        assert_eq!(
            parse(b"1 0 0:1 / / ro - rootfs none \n").unwrap()[0].fs,
            "rootfs"
        );
        assert!(parse(b"1 0 0:1 / / ro - rootfs none\n").unwrap()[0].read_only);
    }

    #[test]
    fn parse_rejects_malformed_lines() {
        for bad in [
            "x",
            "1 2 3 / / rw - a b c",
            "1 2 0:1 / / rw a b c",
            "1 2 0:1 / /",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn at_returns_stacked_mounts_bottom_up() {
        let text = [
            line(12, 11, "/p"),
            line(10, 1, "/p"),
            line(11, 10, "/p"),
            line(13, 12, "/p/q"),
        ]
        .concat();
        let mounts = parse(text.as_bytes()).unwrap();
        let ids: Vec<u64> = at(&mounts, Path::new("/p"))
            .iter()
            .map(|mount| mount.id)
            .collect();
        assert_eq!(ids, [10, 11, 12]);
        assert!(at(&mounts, Path::new("/p/")).is_empty());
    }

    #[test]
    fn read_parses_own_mount_table() {
        let mounts = read(Path::new("/proc/self/mountinfo")).unwrap();
        assert!(mounts.iter().any(|mount| mount.point == Path::new("/")));
    }

    proptest! {
        #[test]
        fn unescape_reverses_kernel_escapes(bytes in proptest::collection::vec(1_u8..=255, 1..60)) {
            let path = PathBuf::from(OsString::from_vec(bytes.clone()));
            prop_assert_eq!(unescape(&escape(&path)), bytes);
        }

        #[test]
        fn parse_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = unescape(&bytes);
        }
    }
}
