//! Decides how a mount prepares a volume. This module alone decides whether mkfs runs. Pure.

use flexvolume::option_lists::fsck_policy::Fsck;
use host::fs::Probe;
use host::{Filesystem, FormatMarker};

use crate::error::Error;

/// How to prepare a volume for a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Mount it as it is.
    Mount,
    /// Clear its format marker and mount it: an admin has created the file system.
    ClearMarker,
    /// Create a file system.
    Format,
}

/// Why the driver refuses to mount a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is blank without a format marker: its data may have been wiped by accident.
    #[error(
        "it carries no file system and no format marker, so its data may be damaged: the driver does not run mkfs; if it \
         is really empty, make a file system on it by hand"
    )]
    NoMarker,
    /// It carries something other than the requested file system.
    #[error(
        "it carries {found}, but {requested} was requested: the driver overwrites nothing; check what is on it"
    )]
    Foreign {
        /// The content that blkid found.
        found: String,
        /// The requested file system.
        requested: Filesystem,
    },
    /// It carries a btrfs with several devices, or a damaged one.
    #[error(
        "it carries a btrfs that has several devices, or that the driver can't parse: only a btrfs on a single device is \
         mounted"
    )]
    SeveralDevices,
    /// The logical volume is read-only.
    #[error(
        "the logical volume is read-only, but a writable mount was requested: mount it read-only, or make it writable \
         (`lvchange --permission rw`)"
    )]
    ReadOnlyVolume,
    /// It has no file system yet, and the mount is read-only.
    #[error(
        "it is new and has no file system yet, which a read-only mount can't create: mount it writable once"
    )]
    ReadOnly,
}

impl Refusal {
    fn foreign(found: &str, requested: Filesystem) -> Self {
        Self::Foreign {
            found: found.to_owned(),
            requested,
        }
    }

    /// Returns the message about this volume, `<group>/<name>`.
    #[must_use]
    pub(crate) fn of(self, volume: &str) -> Error {
        Error::Failed(format!("logical volume {volume}: {self}"))
    }
}

/// Returns true when the superblock alone is sufficient: no marker, and beyond doubt the requested
/// file system. Otherwise blkid has to examine the device.
#[must_use]
pub(crate) fn is_ready(
    marker: FormatMarker,
    superblock: Option<Filesystem>,
    requested: Filesystem,
) -> bool {
    marker == FormatMarker::None && superblock == Some(requested)
}

/// Returns how to prepare a volume with this marker and this content.
///
/// `used` is true when the superblock shows that the file system was mounted before.
///
/// # Errors
/// When the driver must not mount the volume.
pub(crate) fn plan(
    marker: FormatMarker,
    found: &Probe,
    used: bool,
    requested: Filesystem,
    read_only: bool,
) -> Result<Step, Refusal> {
    match (marker, found) {
        (_, Probe::Other(other)) => Err(Refusal::foreign(other, requested)),
        (_, Probe::Filesystem(other)) if *other != requested => {
            Err(Refusal::foreign(other.name(), requested))
        }
        (FormatMarker::None, Probe::Blank) => Err(Refusal::NoMarker),
        (FormatMarker::None, Probe::Filesystem(_)) => Ok(Step::Mount),
        // An admin has created the file system. Or, on a disk that lost completed writes, the
        // marker is older than the file system: traces of use take precedence. The first writable
        // mount clears the marker.
        (FormatMarker::Unformatted, Probe::Filesystem(_)) => Ok(if read_only {
            Step::Mount
        } else {
            Step::ClearMarker
        }),
        (FormatMarker::Formatting, Probe::Filesystem(_)) if used => Ok(if read_only {
            Step::Mount
        } else {
            Step::ClearMarker
        }),
        // Blank with a marker; or the driver's mkfs was interrupted, and the file system was never
        // mounted.
        (FormatMarker::Unformatted, Probe::Blank)
        | (FormatMarker::Formatting, Probe::Blank | Probe::Filesystem(_))
            if read_only =>
        {
            Err(Refusal::ReadOnly)
        }
        (FormatMarker::Unformatted, Probe::Blank)
        | (FormatMarker::Formatting, Probe::Blank | Probe::Filesystem(_)) => Ok(Step::Format),
    }
}

/// How to check a file system before it is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FsckPlan {
    /// No check.
    None,
    /// Run fsck.
    Check,
    /// Leave it unchanged: not even the kernel may write to it.
    NoWriting,
}

/// Returns how to check a file system; `unchecked` is true when its superblock requests a check.
#[must_use]
pub(crate) fn plan_fsck(unchecked: bool, fsck: Fsck, read_only: bool) -> FsckPlan {
    match (unchecked, fsck, read_only) {
        (false, _, _) | (true, Fsck::Never, _) => FsckPlan::None,
        (true, Fsck::Auto, false) => FsckPlan::Check,
        // A check repairs, which a read-only mount does not permit. If the file system were mounted
        // writable underneath, the next writable mount would share it without a check.
        (true, Fsck::Auto, true) => FsckPlan::NoWriting,
    }
}

#[cfg(test)]
mod tests {
    use super::{FsckPlan, Refusal, Step, is_ready, plan, plan_fsck};
    use flexvolume::option_lists::fsck_policy::Fsck;
    use host::fs::Probe;
    use host::{Filesystem, FormatMarker};

    const MARKERS: [FormatMarker; 3] = [
        FormatMarker::None,
        FormatMarker::Unformatted,
        FormatMarker::Formatting,
    ];

    fn probes() -> Vec<Probe> {
        let mut probes: Vec<Probe> = Filesystem::ALL.into_iter().map(Probe::Filesystem).collect();
        probes.extend([
            Probe::Blank,
            Probe::Other("crypto_LUKS".to_owned()),
            Probe::Other("ext3".to_owned()),
        ]);
        probes
    }

    #[test]
    fn formats_only_blank_marked_volumes_and_interrupted_mkfs() {
        let mut formats = 0;
        for (marker, probe, used, requested, read_only) in all() {
            if plan(marker, &probe, used, requested, read_only) != Ok(Step::Format) {
                continue;
            }
            formats += 1;
            let blank = marker == FormatMarker::Unformatted && probe == Probe::Blank;
            let unused = probe == Probe::Blank || (probe == Probe::Filesystem(requested) && !used);
            let interrupted = marker == FormatMarker::Formatting && unused;
            assert!(
                !read_only && (blank || interrupted),
                "{marker:?} {probe:?} {requested} {read_only}"
            );
        }
        assert_eq!(formats, Filesystem::ALL.len() * 5);
    }

    #[test]
    fn mounts_only_the_requested_file_system() {
        for (marker, probe, used, requested, read_only) in all() {
            if let Ok(Step::Mount | Step::ClearMarker) =
                plan(marker, &probe, used, requested, read_only)
            {
                assert_eq!(probe, Probe::Filesystem(requested));
                assert!(
                    marker != FormatMarker::Formatting || used,
                    "mkfs may not have finished"
                );
            }
        }
    }

    #[test]
    fn read_only_mount_writes_nothing() {
        for (marker, probe, used, requested, _) in all() {
            assert!(matches!(
                plan(marker, &probe, used, requested, true),
                Ok(Step::Mount) | Err(_)
            ));
        }
    }

    #[test]
    fn unchecked_file_system_is_never_written_to_without_fsck() {
        for fsck in Fsck::ALL {
            for read_only in [false, true] {
                assert_eq!(plan_fsck(false, fsck, read_only), FsckPlan::None);
                let expected = match (fsck, read_only) {
                    (Fsck::Never, _) => FsckPlan::None,
                    (Fsck::Auto, true) => FsckPlan::NoWriting,
                    (Fsck::Auto, false) => FsckPlan::Check,
                };
                assert_eq!(plan_fsck(true, fsck, read_only), expected);
            }
        }
    }

    #[test]
    fn refusals_name_the_found_and_the_requested_file_system() {
        let found = Probe::Filesystem(Filesystem::Xfs);
        let text = plan(FormatMarker::None, &found, false, Filesystem::Ext4, false)
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("carries xfs, but ext4 was requested"),
            "{text}"
        );
        assert_eq!(
            plan(
                FormatMarker::None,
                &Probe::Blank,
                true,
                Filesystem::Ext4,
                false
            ),
            Err(Refusal::NoMarker)
        );
    }

    #[test]
    fn only_an_unmarked_requested_file_system_needs_no_blkid() {
        for marker in MARKERS {
            for superblock in std::iter::once(None).chain(Filesystem::ALL.map(Some)) {
                for requested in Filesystem::ALL {
                    assert_eq!(
                        is_ready(marker, superblock, requested),
                        marker == FormatMarker::None && superblock == Some(requested)
                    );
                }
            }
        }
    }

    fn all() -> Vec<(FormatMarker, Probe, bool, Filesystem, bool)> {
        let mut all = Vec::new();
        for marker in MARKERS {
            for probe in probes() {
                for requested in Filesystem::ALL {
                    for (used, read_only) in
                        [(false, false), (false, true), (true, false), (true, true)]
                    {
                        all.push((marker, probe.clone(), used, requested, read_only));
                    }
                }
            }
        }
        all
    }
}
