//! What a mount has to do to a volume first. Here, and only here, is decided whether a file system
//! is made. Pure.

use flexvolume::option_lists::fsck_policy::Fsck;
use host::fs::Probe;
use host::{Filesystem, FormatMarker};

/// What a volume needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: mount it.
    Mount,
    /// Its mark taken away: somebody prepared it by hand. Then mount it.
    ClearMark,
    /// A file system.
    Format,
}

/// Why a volume isn't mounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Blank, but perhaps only because something wiped it.
    #[error(
        "it carries no file system, and is not known to be fresh: its data may be damaged, so none is made; if it is \
         really empty, make a file system on it by hand"
    )]
    NotFresh,
    /// It carries something else.
    #[error("it carries {found}, and {wanted} is wanted: nothing is overwritten; look what it is")]
    Foreign {
        /// What it carries.
        found: String,
        /// What was asked for.
        wanted: Filesystem,
    },
    /// It carries a part of something.
    #[error(
        "it carries a btrfs that has several devices, or that can't be understood: only a btrfs on a single device is \
         mounted"
    )]
    SeveralDevices,
    /// Nobody can write to it.
    #[error(
        "the logical volume is read-only, and a writable mount is wanted: mount it read-only, or have LVM change that \
         (`lvchange --permission rw`)"
    )]
    ReadOnlyVolume,
    /// There is nothing to read yet.
    #[error(
        "it is new and has no file system yet, which a read-only mount can't make: mount it writable once"
    )]
    ReadOnly,
}

/// Whether the first look settles it: no mark, and beyond doubt the file system that is wanted.
/// Otherwise blkid is asked.
#[must_use]
pub(crate) fn is_ready(
    mark: FormatMarker,
    first_look: Option<Filesystem>,
    wanted: Filesystem,
) -> bool {
    mark == FormatMarker::None && first_look == Some(wanted)
}

/// What a volume with this mark needs, on which blkid found this. `used`: what is there shows that
/// it was mounted once.
///
/// # Errors
/// When it is not to be touched.
pub(crate) fn plan(
    mark: FormatMarker,
    found: &Probe,
    used: bool,
    wanted: Filesystem,
    read_only: bool,
) -> Result<Step, Refusal> {
    let foreign = |found: &str| {
        Err(Refusal::Foreign {
            found: found.to_owned(),
            wanted,
        })
    };
    match (mark, found) {
        (_, Probe::Other(other)) => foreign(other),
        (_, Probe::Filesystem(other)) if *other != wanted => foreign(other.name()),
        (FormatMarker::None, Probe::Blank) => Err(Refusal::NotFresh),
        (FormatMarker::None, Probe::Filesystem(_)) => Ok(Step::Mount),
        // Somebody made it by hand. Or, with a disk that forgot what it had reported as written,
        // the mark is older than the file system: traces of use weigh more. To take the mark away
        // is for the first who may write.
        (FormatMarker::Unformatted, Probe::Filesystem(_)) => Ok(if read_only {
            Step::Mount
        } else {
            Step::ClearMark
        }),
        (FormatMarker::Formatting, Probe::Filesystem(_)) if used => Ok(if read_only {
            Step::Mount
        } else {
            Step::ClearMark
        }),
        // Blank and fresh; or a mkfs of ours was cut short, at whatever point, and nobody has ever
        // mounted it.
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

/// What a file system needs before it is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FsckPlan {
    /// Nothing.
    None,
    /// A check.
    Check,
    /// To be left as it is: not even the kernel may write to it.
    NoWriting,
}

/// What a file system needs whose superblock says that it is `unchecked`.
#[must_use]
pub(crate) fn plan_fsck(unchecked: bool, fsck: Fsck, read_only: bool) -> FsckPlan {
    match (unchecked, fsck, read_only) {
        (false, _, _) | (true, Fsck::Never, _) => FsckPlan::None,
        (true, Fsck::Auto, false) => FsckPlan::Check,
        // A check repairs, and who asked for a read-only mount did not ask for that. Were it
        // mounted writable beneath, the next writable mount would join in unchecked.
        (true, Fsck::Auto, true) => FsckPlan::NoWriting,
    }
}

#[cfg(test)]
mod tests {
    use super::{FsckPlan, Refusal, Step, is_ready, plan, plan_fsck};
    use flexvolume::option_lists::fsck_policy::Fsck;
    use host::fs::Probe;
    use host::{Filesystem, FormatMarker};

    const MARKS: [FormatMarker; 3] = [
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
    fn nothing_formats_but_fresh_and_blank_or_a_mkfs_of_ours_cut_short() {
        let mut formats = 0;
        for (mark, probe, used, wanted, read_only) in all() {
            if plan(mark, &probe, used, wanted, read_only) != Ok(Step::Format) {
                continue;
            }
            formats += 1;
            let fresh = mark == FormatMarker::Unformatted && probe == Probe::Blank;
            let unused = probe == Probe::Blank || (probe == Probe::Filesystem(wanted) && !used);
            let cut_short = mark == FormatMarker::Formatting && unused;
            assert!(
                !read_only && (fresh || cut_short),
                "{mark:?} {probe:?} {wanted} {read_only}"
            );
        }
        assert_eq!(formats, Filesystem::ALL.len() * 5);
    }

    #[test]
    fn nothing_is_mounted_but_the_file_system_that_is_wanted() {
        for (mark, probe, used, wanted, read_only) in all() {
            if let Ok(Step::Mount | Step::ClearMark) = plan(mark, &probe, used, wanted, read_only) {
                assert_eq!(probe, Probe::Filesystem(wanted));
                assert!(
                    mark != FormatMarker::Formatting || used,
                    "a file system that mkfs perhaps never finished"
                );
            }
        }
    }

    #[test]
    fn a_read_only_mount_writes_nothing() {
        for (mark, probe, used, wanted, _) in all() {
            assert!(matches!(
                plan(mark, &probe, used, wanted, true),
                Ok(Step::Mount) | Err(_)
            ));
        }
    }

    #[test]
    fn what_asks_for_a_check_is_never_written_to_without() {
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
    fn refusals_name_what_was_found_and_what_was_wanted() {
        let found = Probe::Filesystem(Filesystem::Xfs);
        let text = plan(FormatMarker::None, &found, false, Filesystem::Ext4, false)
            .unwrap_err()
            .to_string();
        assert!(text.contains("carries xfs, and ext4 is wanted"), "{text}");
        assert_eq!(
            plan(
                FormatMarker::None,
                &Probe::Blank,
                true,
                Filesystem::Ext4,
                false
            ),
            Err(Refusal::NotFresh)
        );
    }

    #[test]
    fn only_an_unmarked_file_system_of_the_wanted_type_needs_no_second_look() {
        for mark in MARKS {
            for look in std::iter::once(None).chain(Filesystem::ALL.map(Some)) {
                for wanted in Filesystem::ALL {
                    assert_eq!(
                        is_ready(mark, look, wanted),
                        mark == FormatMarker::None && look == Some(wanted)
                    );
                }
            }
        }
    }

    fn all() -> Vec<(FormatMarker, Probe, bool, Filesystem, bool)> {
        let mut all = Vec::new();
        for mark in MARKS {
            for probe in probes() {
                for wanted in Filesystem::ALL {
                    for (used, read_only) in
                        [(false, false), (false, true), (true, false), (true, true)]
                    {
                        all.push((mark, probe.clone(), used, wanted, read_only));
                    }
                }
            }
        }
        all
    }
}
