//! Runs the real blkid and mkfs on sparse files: which devices are blank, and that no mkfs
//! overwrites the format marker.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use host::fs::{MkfsOptions, MkfsRequest, Probe, mkfs, probe, superblock};
use host::{Bytes, Filesystem, FormatMarker, FormatMarkerBlock, Kind, LvUuid, System};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

struct Volume {
    file: File,
    path: tempfile::TempPath,
    mark: FormatMarkerBlock,
}

fn volume(size: u64) -> Volume {
    let (file, path) = tempfile::NamedTempFile::new().unwrap().into_parts();
    file.set_len(size).unwrap();
    let uuid = LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap();
    Volume {
        file,
        path,
        mark: FormatMarkerBlock::new(&uuid, Bytes(size)).unwrap(),
    }
}

impl Volume {
    fn probe(&self) -> Result<Probe, Kind> {
        probe(&System::current(), &self.file, &self.path, &self.mark).map_err(|error| error.kind())
    }

    fn mkfs(&self, fs: Filesystem, words: &[&str]) {
        let options = MkfsOptions {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            extended: Vec::new(),
        };
        let size = self.mark.filesystem_size();
        let plan = MkfsRequest {
            path: &self.path,
            size,
            options: &options,
            time: Duration::from_mins(1),
        };
        mkfs(&System::current(), fs, &plan).unwrap();
    }

    fn superblock(&self) -> Option<superblock::Superblock> {
        let mut start = vec![0; superblock::LENGTH];
        self.file.read_exact_at(&mut start, 0).unwrap();
        superblock::parse(&start)
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn marker_survives_every_mkfs() {
    let sizes = [
        4 * MIB,
        25 * MIB,
        100 * MIB,
        385 * MIB,
        GIB + 4 * MIB,
        16 * GIB + 128 * MIB + MIB,
        2048 * GIB,
    ];
    for size in sizes {
        for (fs, words) in [
            (Filesystem::Ext4, &[][..]),
            (Filesystem::Ext4, &["-b", "1024", "-i", "4096"]),
            (Filesystem::Xfs, &[]),
            (Filesystem::Xfs, &["-d", "agcount=3"]),
            (Filesystem::Btrfs, &[]),
            (
                Filesystem::Btrfs,
                &[
                    "-m", "single", "-O", "mixed-bg", "-n", "4096", "-d", "single",
                ],
            ),
        ] {
            // xfsprogs refuses less than 300 MB, btrfs-progs less than 109 MiB, or 45 MiB when
            // mixed; and a 1 KiB block size makes large ext4 slow to write.
            let least = match fs {
                Filesystem::Ext4 => 0,
                Filesystem::Xfs => 350 * MIB,
                Filesystem::Btrfs => {
                    if words.is_empty() {
                        120 * MIB
                    } else {
                        60 * MIB
                    }
                }
            };
            if size < least || (words.contains(&"1024") && size > 17 * GIB) {
                continue;
            }
            let volume = volume(size);
            volume.mark.write_unformatted(&volume.file).unwrap();
            assert_eq!(
                volume.probe(),
                Ok(Probe::Blank),
                "the mark itself is no signature"
            );
            volume.mark.begin(&volume.file).unwrap();
            volume.mkfs(fs, words);
            volume.mkfs(fs, words);
            assert_eq!(
                volume.mark.read(&volume.file).unwrap(),
                FormatMarker::Formatting,
                "{fs} {words:?} {size}"
            );
            assert_eq!(
                volume.probe(),
                Ok(Probe::Filesystem(fs)),
                "{fs} {words:?} {size}"
            );
            let found = volume.superblock().unwrap();
            assert_eq!(found.fs, fs);
            let left = volume.mark.filesystem_size().0 - found.size.0;
            assert!(
                left < 32 * MIB,
                "{fs} {words:?} {size}: {left} bytes are left over"
            );
        }
    }
}

#[test]
fn probe_never_reports_used_device_as_blank() {
    let volume = volume(100 * MIB);
    assert_eq!(volume.probe(), Ok(Probe::Blank));
    volume.file.write_all_at(&[0x55, 0xaa], 510).unwrap();
    volume
        .file
        .write_all_at(&[0x80, 1, 1, 0, 0x83, 1, 1, 9, 0, 8, 0, 0, 0, 0, 1, 0], 446)
        .unwrap();
    assert_eq!(
        volume.probe(),
        Ok(Probe::Other("a partition table (dos)".to_owned()))
    );
    volume.file.write_all_at(&[0; 512], 0).unwrap();
    volume
        .file
        .write_all_at(b"LUKS\xba\xbe\x00\x01", 0)
        .unwrap();
    assert_eq!(volume.probe(), Ok(Probe::Other("crypto_LUKS".to_owned())));
    volume.file.write_all_at(&[0; 8], 0).unwrap();
    volume
        .file
        .write_all_at(b"_BHRfS_M", (64 << 10) + 64)
        .unwrap();
    assert_ne!(volume.probe(), Ok(Probe::Blank), "half of a btrfs");
}

#[test]
fn damaged_file_system_is_not_blank() {
    let volume = volume(400 * MIB);
    for fs in Filesystem::ALL {
        volume.mkfs(fs, &[]);
        // Only the magic is left: blkid finds nothing, or fails; neither may lead to a mkfs.
        let (magic, at) = match fs {
            Filesystem::Ext4 => (vec![0x53, 0xef], 1080),
            Filesystem::Xfs => (b"XFSB".to_vec(), 0),
            Filesystem::Btrfs => (b"_BHRfS_M".to_vec(), (64 << 10) + 64),
        };
        volume.file.set_len(0).unwrap();
        volume.file.set_len(400 * MIB).unwrap();
        volume.file.write_all_at(&magic, at).unwrap();
        assert_ne!(volume.probe(), Ok(Probe::Blank), "{fs}");
    }
}

#[test]
fn unreadable_device_is_not_blank() {
    let volume = volume(8 * MIB);
    volume.file.write_all_at(b"x", 0).unwrap();
    let gone = Path::new("/dev/flexlvm-no-such-device");
    assert!(probe(&System::current(), &volume.file, gone, &volume.mark).is_err());
    // The open file can't be read, but blkid can open the path.
    let shut = File::options().write(true).open(&volume.path).unwrap();
    assert!(probe(&System::current(), &shut, &volume.path, &volume.mark).is_err());
}
