//! Mount options that are allowed for each file system, and their translation for mount(2). The
//! controller rejects a StorageClass by them, and the driver a volume. Pure.

use storage_model::{Filesystem, MountFlags};

use crate::option_lists::mount_table::{Effect, REFUSED, allowed};
use crate::option_lists::value::{OptionError, OptionValue, ValueError, shortened};

/// Mount options in the form of mount(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// Whether the options contain `ro`.
    pub read_only: bool,
    /// Options common to all file systems.
    pub flags: MountFlags,
    /// Options of the file system, separated by commas.
    pub data: String,
}

/// Checks that these mount options are allowed for this file system.
///
/// Each item holds one option, or several separated by commas.
///
/// # Errors
/// The first option that is not allowed, with the reason.
pub fn check(fs: Filesystem, options: &[String]) -> Result<(), OptionError> {
    parse(fs, options).map(drop)
}

/// Parses the options into the form of mount(2).
///
/// # Errors
/// As [`check`].
pub fn parse(fs: Filesystem, options: &[String]) -> Result<MountOptions, OptionError> {
    let mut parsed = MountOptions {
        read_only: false,
        flags: MountFlags::empty(),
        data: String::new(),
    };
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for option in options
        .iter()
        .flat_map(|item| item.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty())
    {
        let (group, effect) = find(fs, option)?;
        if let Some((_, earlier)) = seen.iter().find(|(other, _)| *other == group) {
            if *earlier == option {
                continue;
            }
            return Err(OptionError::Contradiction {
                what: "mount",
                one: shortened(earlier),
                other: shortened(option),
            });
        }
        seen.push((group, option));
        match effect {
            Effect::Nothing => {}
            Effect::ReadOnly => parsed.read_only = true,
            Effect::Flag(flag) => parsed.flags |= flag,
            Effect::Data(_) => {
                if !parsed.data.is_empty() {
                    parsed.data.push(',');
                }
                parsed.data.push_str(option);
            }
        }
    }
    Ok(parsed)
}

fn find(fs: Filesystem, option: &str) -> Result<(&'static str, Effect), OptionError> {
    let (name, value) = option
        .split_once('=')
        .map_or((option, None), |(name, value)| (name, Some(value)));
    let what = "mount";
    if let Some((_, why)) = REFUSED
        .iter()
        .find(|(refused, _)| *refused == option || *refused == name)
    {
        return Err(OptionError::Refused {
            what,
            option: shortened(option),
            fs,
            why,
        });
    }
    let Some((_, group, effect)) = allowed(fs).find(|row| row.0 == name) else {
        let possible = allowed(fs).map(|row| row.0).collect::<Vec<_>>().join(", ");
        return Err(OptionError::Unknown {
            what,
            option: shortened(option),
            fs,
            possible,
        });
    };
    let takes = match effect {
        Effect::Data(takes) => *takes,
        _ => OptionValue::No,
    };
    if !takes.accepts(value) {
        return Err(OptionError::Value {
            what,
            option: shortened(option),
            why: ValueError::Unexpected { takes },
        });
    }
    Ok((group, *effect))
}

#[cfg(test)]
mod tests {
    use super::{MountFlags, check, parse};
    use crate::option_lists::mount_table::{Effect, REFUSED, allowed};
    use crate::option_lists::value::OptionError;
    use proptest::prelude::*;
    use storage_model::Filesystem::{self, Btrfs, Ext4, Xfs};

    fn list(options: &[&str]) -> Vec<String> {
        options.iter().map(|&option| option.to_owned()).collect()
    }

    #[test]
    fn options_become_flags_and_data() {
        let parsed = parse(
            Ext4,
            &list(&[
                "noatime,nosuid",
                "ro",
                "commit=30",
                " discard ",
                "",
                "defaults",
            ]),
        )
        .unwrap();
        assert_eq!(parsed.flags, MountFlags::NOATIME | MountFlags::NOSUID);
        assert!(parsed.read_only);
        assert_eq!(parsed.data, "commit=30,discard");
        assert_eq!(parse(Xfs, &[]).unwrap().data, "");
        assert_eq!(
            parse(Ext4, &list(&["noatime", "noatime"])).unwrap().flags,
            MountFlags::NOATIME
        );
    }

    #[test]
    fn contradictions_are_rejected() {
        for pair in [
            ["ro", "rw"],
            ["noatime", "relatime"],
            ["commit=5", "commit=6"],
            ["discard", "nodiscard"],
        ] {
            let error = check(Ext4, &list(&pair)).unwrap_err();
            assert!(
                matches!(error, OptionError::Contradiction { .. }),
                "{error}"
            );
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn dangerous_and_unknown_options_are_rejected() {
        for option in [
            "nobarrier",
            "barrier=0",
            "journal_path=/dev/sda",
            "data=writeback",
            "errors=panic",
            "bind",
        ] {
            assert!(
                matches!(
                    check(Ext4, &list(&[option])),
                    Err(OptionError::Refused { .. })
                ),
                "{option}"
            );
        }
        for option in [
            "nosuchthing",
            "uid=0",
            "nouuid",
            "allocsize=1m",
            "ro\n",
            "-o",
            "x-systemd.requires=/x",
        ] {
            if option.trim() != "ro" {
                assert!(
                    matches!(
                        check(Ext4, &list(&[option])),
                        Err(OptionError::Unknown { .. })
                    ),
                    "{option}"
                );
            }
        }
        for option in [
            "device=/dev/sda",
            "subvol=x",
            "subvolid=256",
            "degraded",
            "usebackuproot",
            "rescue=all",
            "nobarrier",
        ] {
            assert!(
                matches!(
                    check(Btrfs, &list(&[option])),
                    Err(OptionError::Refused { .. })
                ),
                "{option}"
            );
        }
        for option in [
            "compress=zstd:99",
            "compress=",
            "space_cache=v3",
            "acl=1",
            "commit",
        ] {
            assert!(
                matches!(
                    check(Btrfs, &list(&[option])),
                    Err(OptionError::Value { .. })
                ),
                "{option}"
            );
        }
        for option in [
            "commit",
            "commit=0",
            "commit=-1",
            "ro=1",
            "noatime=",
            "data=none",
            "barrier=2",
        ] {
            assert!(
                matches!(
                    check(Ext4, &list(&[option])),
                    Err(OptionError::Value { .. })
                ),
                "{option}"
            );
        }
    }

    #[test]
    fn every_allowed_option_is_accepted_and_none_is_also_refused() {
        for fs in Filesystem::ALL {
            for (name, _, effect) in allowed(fs) {
                assert!(
                    !REFUSED.iter().any(|(refused, _)| refused == name),
                    "{name}"
                );
                if !matches!(effect, Effect::Data(value) if !value.accepts(None)) {
                    assert!(check(fs, &list(&[name])).is_ok(), "{name}");
                }
            }
        }
        assert_eq!(
            parse(Btrfs, &list(&["compress=zstd:3,discard=async"]))
                .unwrap()
                .data,
            "compress=zstd:3,discard=async"
        );
        assert!(check(Ext4, &list(&["barrier=1"])).is_ok());
    }

    proptest! {
        #[test]
        fn mount_data_holds_safe_characters_only(options in proptest::collection::vec("[a-z_]{0,8}(=[^,]{0,6})?", 0..4)) {
            for fs in Filesystem::ALL {
                if let Ok(parsed) = parse(fs, &options) {
                    prop_assert!(parsed.data.bytes().all(|b| b.is_ascii_alphanumeric() || b"=,_:-".contains(&b)));
                }
            }
        }
    }
}
