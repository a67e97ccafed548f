//! Options for mkfs that are allowed for each file system. The controller rejects a StorageClass by
//! them, and the driver a volume. Pure.

use storage_model::{Filesystem, MkfsOptions};

use crate::option_lists::mkfs_table::{BTRFS, EXT4, Takes, XFS};
use crate::option_lists::value::{OptionError, OptionValue, ValueError, shortened};

/// Checks that these mkfs options are allowed for this file system.
///
/// Each item holds one argument, or several separated by spaces.
///
/// # Errors
/// The first option that is not allowed, with the reason.
pub fn check(fs: Filesystem, options: &[String]) -> Result<(), OptionError> {
    parse(fs, options).map(drop)
}

/// Parses the options into arguments for mkfs.
///
/// # Errors
/// As [`check`].
pub fn parse(fs: Filesystem, options: &[String]) -> Result<MkfsOptions, OptionError> {
    let mut parsed = MkfsOptions::default();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut words = options
        .iter()
        .flat_map(|item| item.split_ascii_whitespace());
    while let Some(word) = words.next() {
        let (option, joined, takes) = find(fs, word)?;
        // Both `-i 8192` and `-i8192`, `--csum xxhash` and `--csum=xxhash` are accepted.
        let value = joined.or_else(|| words.next());
        let Some(value) = value else {
            return Err(wrong(word, ValueError::Missing));
        };
        let keys =
            check_value(takes, value).map_err(|why| wrong(&format!("{option} {value}"), why))?;
        for key in keys {
            // mkfs would silently use the last one.
            if seen.contains(&(option, key)) {
                return Err(wrong(&format!("{option} {value}"), ValueError::Repeated));
            }
            seen.push((option, key));
        }
        match (fs, option) {
            (Filesystem::Ext4, "-E") => parsed.extended.extend(value.split(',').map(str::to_owned)),
            _ => parsed.words.extend([option.to_owned(), value.to_owned()]),
        }
    }
    Ok(parsed)
}

fn wrong(option: &str, why: ValueError) -> OptionError {
    OptionError::Value {
        what: "mkfs",
        option: shortened(option),
        why,
    }
}

/// Returns the option that `word` begins with, and the value that is joined to it.
fn find(fs: Filesystem, word: &str) -> Result<(&'static str, Option<&str>, Takes), OptionError> {
    let table = match fs {
        Filesystem::Ext4 => EXT4,
        Filesystem::Xfs => XFS,
        Filesystem::Btrfs => BTRFS,
    };
    let (name, joined) = if word.starts_with("--") {
        word.split_once('=')
            .map_or((word, None), |(name, value)| (name, Some(value)))
    } else {
        let end = word
            .char_indices()
            .nth(2)
            .map_or(word.len(), |(end, _)| end);
        let (name, value) = word.split_at(end);
        (name, Some(value).filter(|value| !value.is_empty()))
    };
    if let Some((option, takes)) = table.iter().find(|(known, _)| *known == name) {
        return Ok((option, joined, *takes));
    }
    let possible = table
        .iter()
        .map(|(option, _)| *option)
        .collect::<Vec<_>>()
        .join(", ");
    Err(OptionError::Unknown {
        what: "mkfs",
        option: shortened(word),
        fs,
        possible,
    })
}

/// Checks a value; returns the names of its sub-options or features, or one empty name.
fn check_value(takes: Takes, value: &str) -> Result<Vec<&str>, ValueError> {
    match takes {
        Takes::One(takes) if takes.accepts(Some(value)) => Ok(vec![""]),
        Takes::One(takes) => Err(ValueError::Unexpected { takes }),
        Takes::Several(known) => value
            .split(',')
            .map(|item| check_sub_option(known, item))
            .collect(),
        Takes::Features(known) => value
            .split(',')
            .map(|item| check_feature(known, item))
            .collect(),
    }
}

/// Checks `name` or `name=value`; returns the name.
fn check_sub_option<'a>(
    known: &[(&str, OptionValue)],
    item: &'a str,
) -> Result<&'a str, ValueError> {
    let (name, value) = item
        .split_once('=')
        .map_or((item, None), |(name, value)| (name, Some(value)));
    let Some((_, takes)) = known.iter().find(|(known, _)| *known == name) else {
        return Err(unknown(name, known.iter().map(|(name, _)| *name)));
    };
    if takes.accepts(value) {
        Ok(name)
    } else {
        Err(ValueError::SubOption {
            name: name.to_owned(),
            takes: *takes,
        })
    }
}

/// Checks `feature`, or `^feature` to switch it off; returns the feature.
fn check_feature<'a>(known: &[(&str, bool)], item: &'a str) -> Result<&'a str, ValueError> {
    let name = item.strip_prefix('^').unwrap_or(item);
    match known.iter().find(|(known, _)| *known == name) {
        Some((_, false)) if item != name => Err(ValueError::Required {
            feature: name.to_owned(),
        }),
        Some(_) => Ok(name),
        None => Err(unknown(name, known.iter().map(|(name, _)| *name))),
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> ValueError {
    ValueError::Unknown {
        name: shortened(name),
        known: known.collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::{check, parse};
    use proptest::prelude::*;
    use storage_model::Filesystem::{self, Btrfs, Ext4, Xfs};

    fn list(options: &str) -> Vec<String> {
        vec![options.to_owned()]
    }

    #[test]
    fn ext4_options_become_words_and_one_extended_list() {
        let parsed = parse(
            Ext4,
            &list("-i 8192 -m1 -E stride=4,stripe_width=8 -O ^metadata_csum,quota"),
        )
        .unwrap();
        assert_eq!(
            parsed.words,
            ["-i", "8192", "-m", "1", "-O", "^metadata_csum,quota"]
        );
        assert_eq!(parsed.extended, ["stride=4", "stripe_width=8"]);
        let parsed = parse(
            Xfs,
            &[
                "-d".to_owned(),
                "agcount=4".to_owned(),
                "-m reflink=0".to_owned(),
            ],
        )
        .unwrap();
        assert_eq!(parsed.words, ["-d", "agcount=4", "-m", "reflink=0"]);
        assert_eq!(parse(Xfs, &[]).unwrap().words, Vec::<String>::new());
    }

    #[test]
    fn ext4_rejects_unsafe_options() {
        for options in [
            "/dev/sda",
            "-F",
            "-FF",
            "-n",
            "-S",
            "-c",
            "-l /etc/passwd",
            "-d /etc",
            "-z /tmp/x",
            "-U random",
            "-t ext2",
            "-J device=/dev/sda",
            "-E offset=1048576",
            "-E discard",
            "-E assume_storage_prezeroed=1",
            "-E lazy_journal_init=1",
            "-E lazy_itable_init=1,lazy_journal_init=1",
            "-O journal_dev",
            "-O ^has_journal",
            "-O ^filetype",
            "-O none",
            "-E stride=4,offset=1",
            "-b 4096 10",
            "--",
            "-",
            "-b",
            "-i x",
            "-E stride=1 -E stride=2",
            "-m 0 -m 1",
            "-O quota,^quota",
            "-E stride=",
            "-L -x",
            "-é 1",
        ] {
            assert!(check(Ext4, &list(options)).is_err(), "{options:?}");
        }
    }

    #[test]
    fn xfs_rejects_unsafe_options() {
        for options in [
            "-f",
            "-K",
            "-N",
            "-d name=/dev/sda",
            "-d file",
            "-d size=1g",
            "-l logdev=/dev/sda",
            "-l internal=0",
            "-r rtdev=/dev/sda",
            "-p /etc/passwd",
            "-c options=/etc/x",
            "-m uuid=x",
            "-m crc=0",
            "-L thirteenchars",
            "-d agcount=1,agcount=2",
            "-d agcount=1 -d agcount=2",
            "-i",
        ] {
            assert!(check(Xfs, &list(options)).is_err(), "{options:?}");
        }
    }

    #[test]
    fn btrfs_rejects_unsafe_options() {
        for options in [
            "/dev/sda",
            "-f",
            "-K",
            "-b 1g",
            "-d raid0",
            "-m raid1",
            "-M",
            "-r /etc",
            "-U 0",
            "--rootdir /etc",
            "--rootdir=/etc",
            "--csum",
            "--csum=",
            "--csum=md5",
            "--csum xxhash --csum sha256",
            "-O zoned",
            "-O raid56",
            "-O list-all",
            "-L a/b",
            "-s 65536",
            "-R quota",
        ] {
            assert!(check(Btrfs, &list(options)).is_err(), "{options:?}");
        }
        let parsed = parse(
            Btrfs,
            &list("-m single --csum=xxhash -O ^no-holes,quota -Ldata"),
        )
        .unwrap();
        assert_eq!(
            parsed.words,
            [
                "-m",
                "single",
                "--csum",
                "xxhash",
                "-O",
                "^no-holes,quota",
                "-L",
                "data"
            ]
        );
    }

    #[test]
    fn errors_list_the_allowed_options() {
        let text = check(Xfs, &list("-d size=1g")).unwrap_err().to_string();
        assert!(
            text.contains("\"size\" is not one of: agcount, agsize"),
            "{text}"
        );
        let text = check(Ext4, &list("-z")).unwrap_err().to_string();
        assert!(
            text.contains("not among those allowed for ext4: -b, -e"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn parsed_options_hold_no_path_and_no_other_option(options in "[-a-zA-Z0-9=,./ ^]{0,40}") {
            for fs in Filesystem::ALL {
                if let Ok(parsed) = parse(fs, std::slice::from_ref(&options)) {
                    for pair in parsed.words.chunks(2) {
                        prop_assert!(pair.len() == 2 && pair[0].starts_with('-'));
                        prop_assert!(!pair[1].contains('/') && !pair[1].starts_with('-'));
                    }
                }
            }
        }
    }
}
