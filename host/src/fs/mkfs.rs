//! Makes file systems, with one command each. The caller decides whether one may be made.

use std::path::Path;
use std::time::Duration;

use super::{Filesystem, MkfsOptions};
use crate::error::{Error, Kind};
use crate::process::{Cmd, Exec};
use crate::units::Bytes;

/// Parameters of [`mkfs`].
#[derive(Clone, Copy, Debug)]
pub struct MkfsRequest<'a> {
    /// The device.
    pub path: &'a Path,
    /// The size of the new file system in bytes.
    pub size: Bytes,
    /// Further options.
    pub options: &'a MkfsOptions,
    /// Time limit of mkfs.
    pub time: Duration,
}

/// Makes a file system of `size` at the start of the device, regardless of its content.
///
/// The caller has proof that the device is blank, or carries nothing but an earlier, interrupted
/// mkfs of the driver.
///
/// # Errors
/// When mkfs fails or times out; the content of the device is undefined then.
pub fn mkfs(exec: &dyn Exec, fs: Filesystem, plan: &MkfsRequest<'_>) -> Result<(), Error> {
    let cmd = command(fs, plan);
    match exec.exec(&cmd) {
        Ok(output) if output.success() => Ok(()),
        Ok(output) => Err(output.failed(&cmd, Kind::Failed)),
        Err(Error::Deadline { command, limit }) => Err(Error::failed(format!(
            "{command} timed out after {} s and was killed; the next attempt starts over. If this repeats, the disk is \
                 too slow for what mkfs writes with these options; docs/filesystems.md lists those that write the most, \
                 and how to make the file system by hand",
            limit.as_secs()
        ))),
        Err(error) => Err(error),
    }
}

/// Builds the command line of mkfs.
///
/// Never discards: that would erase the format marker, and can take minutes.
fn command(fs: Filesystem, plan: &MkfsRequest<'_>) -> Cmd {
    let path = plan.path.display().to_string();
    let words = plan.options.words.iter().cloned();
    let cmd = match fs {
        Filesystem::Ext4 => {
            let is_configured = plan
                .options
                .extended
                .iter()
                .any(|option| option.starts_with("lazy_itable_init"));
            // Without this option mkfs checks whether the running kernel can initialize the inode
            // tables later. A kernel that has not loaded ext4 yet doesn't show that; mkfs would
            // then write a sixtieth of the volume at once.
            let lazy = if is_configured {
                None
            } else {
                Some("lazy_itable_init=1")
            };
            let extended = ["nodiscard"]
                .into_iter()
                .chain(lazy)
                .chain(plan.options.extended.iter().map(String::as_str));
            // Unless configured, no blocks are reserved for root, as the kubelet does it: the whole
            // volume belongs to the pod.
            let reserved: &[&str] = if plan.options.words.iter().any(|word| word == "-m") {
                &[]
            } else {
                &["-m", "0"]
            };
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
        // The superblock copies at 64 MiB and 256 GiB are only written where they lie within the
        // size.
        Filesystem::Btrfs => Cmd::new("mkfs.btrfs")
            .args(["-q", "-f", "-K"])
            .args(words)
            .args(["-b".to_owned(), plan.size.0.to_string()])
            .arg(path),
    };
    cmd.timeout(plan.time)
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Duration, Filesystem, MkfsOptions, MkfsRequest, Path, command, mkfs};
    use crate::error::Error;
    use crate::process::{Cmd, Exec, Output};

    #[test]
    fn mkfs_never_discards_and_ends_before_marker() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let line = |fs, options: MkfsOptions| {
            let path = Path::new("/dev/dm-3");
            command(
                fs,
                &MkfsRequest {
                    path,
                    size: Bytes(3 << 20),
                    options: &options,
                    time: Duration::ZERO,
                },
            )
            .line()
        };
        let none = MkfsOptions::default;
        assert_eq!(
            line(Filesystem::Ext4, none()),
            "mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=1 -m 0 /dev/dm-3 3072k"
        );
        assert_eq!(
            line(Filesystem::Xfs, none()),
            "mkfs.xfs -q -f -K -d size=3145728 /dev/dm-3"
        );
        assert_eq!(
            line(Filesystem::Btrfs, none()),
            "mkfs.btrfs -q -f -K -b 3145728 /dev/dm-3"
        );
        let options = MkfsOptions {
            words: words(&["-m", "5"]),
            extended: words(&["lazy_itable_init=0", "stride=4"]),
        };
        assert_eq!(
            line(Filesystem::Ext4, options),
            "mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,stride=4 -m 5 /dev/dm-3 3072k"
        );
    }

    /// Always times out.
    struct Slow;

    impl Exec for Slow {
        fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
            Err(Error::Deadline {
                command: cmd.line(),
                limit: cmd.limit(),
            })
        }
    }

    #[test]
    fn mkfs_timeout_names_next_step() {
        let options = MkfsOptions::default();
        let plan = MkfsRequest {
            path: Path::new("/dev/x"),
            size: Bytes(1 << 40),
            options: &options,
            time: Duration::from_secs(90),
        };
        let error = mkfs(&Slow, Filesystem::Ext4, &plan).unwrap_err();
        assert!(
            error.to_string().contains("timed out after 90 s"),
            "{error}"
        );
        assert!(error.to_string().contains("by hand"), "{error}");
    }
}
