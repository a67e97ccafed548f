//! Mount options: which are allowed for which file system, and what they mean to mount(2). Called by the controller,
//! which refuses a class, and by the driver, which trusts nobody.
//! Pure.

use host::Filesystem;
use host::mount::Flags;

use crate::allowed::{OptionError, SWITCH, Value, shortened};

/// Mount options as mount(2) wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// Whether `ro` was among them.
    pub read_only: bool,
    /// Those that every file system knows.
    pub flags: Flags,
    /// Those of the file system, with commas between.
    pub data: String,
}

/// What an option does.
#[derive(Clone, Copy)]
enum Effect {
    Nothing,
    ReadOnly,
    Flag(Flags),
    /// It is passed on to the file system.
    Data(Value),
}

/// An option's name, the group of which only one may be given, the file system that has it (`None`: all), its effect.
type Row = (&'static str, &'static str, Option<Filesystem>, Effect);

const EXT4: Option<Filesystem> = Some(Filesystem::Ext4);
const XFS: Option<Filesystem> = Some(Filesystem::Xfs);
const MANY: Value = Value::Number(0, 1 << 30);
const PLAIN: Effect = Effect::Data(Value::No);

const ALLOWED: &[Row] = &[
    ("defaults", "defaults", None, Effect::Nothing),
    ("rw", "ro", None, Effect::Nothing),
    ("ro", "ro", None, Effect::ReadOnly),
    ("suid", "suid", None, Effect::Nothing),
    ("nosuid", "suid", None, Effect::Flag(Flags::NOSUID)),
    ("dev", "dev", None, Effect::Nothing),
    ("nodev", "dev", None, Effect::Flag(Flags::NODEV)),
    ("exec", "exec", None, Effect::Nothing),
    ("noexec", "exec", None, Effect::Flag(Flags::NOEXEC)),
    ("async", "sync", None, Effect::Nothing),
    ("sync", "sync", None, Effect::Flag(Flags::SYNCHRONOUS)),
    ("dirsync", "dirsync", None, Effect::Flag(Flags::DIRSYNC)),
    ("atime", "atime", None, Effect::Nothing),
    ("noatime", "atime", None, Effect::Flag(Flags::NOATIME)),
    ("relatime", "atime", None, Effect::Flag(Flags::RELATIME)),
    ("strictatime", "atime", None, Effect::Flag(Flags::STRICTATIME)),
    ("diratime", "diratime", None, Effect::Nothing),
    ("nodiratime", "diratime", None, Effect::Flag(Flags::NODIRATIME)),
    ("lazytime", "lazytime", None, Effect::Flag(Flags::LAZYTIME)),
    ("nolazytime", "lazytime", None, Effect::Nothing),
    ("discard", "discard", None, PLAIN),
    ("nodiscard", "discard", None, PLAIN),
    ("grpid", "grpid", None, PLAIN),
    ("nogrpid", "grpid", None, PLAIN),
    ("acl", "acl", EXT4, PLAIN),
    ("auto_da_alloc", "auto_da_alloc", EXT4, PLAIN),
    ("barrier", "barrier", EXT4, PLAIN),
    ("block_validity", "block_validity", EXT4, PLAIN),
    ("commit", "commit", EXT4, Effect::Data(Value::Number(1, 300))),
    ("data", "data", EXT4, Effect::Data(Value::OneOf(&["ordered", "journal"]))),
    ("delalloc", "delalloc", EXT4, PLAIN),
    ("nodelalloc", "delalloc", EXT4, PLAIN),
    ("dioread_lock", "dioread", EXT4, PLAIN),
    ("dioread_nolock", "dioread", EXT4, PLAIN),
    ("errors", "errors", EXT4, Effect::Data(Value::OneOf(&["remount-ro"]))),
    ("init_itable", "init_itable", EXT4, Effect::Data(MANY)),
    ("noinit_itable", "init_itable", EXT4, PLAIN),
    ("inode_readahead_blks", "inode_readahead_blks", EXT4, Effect::Data(MANY)),
    ("journal_checksum", "journal_checksum", EXT4, PLAIN),
    ("max_batch_time", "max_batch_time", EXT4, Effect::Data(MANY)),
    ("min_batch_time", "min_batch_time", EXT4, Effect::Data(MANY)),
    ("max_dir_size_kb", "max_dir_size_kb", EXT4, Effect::Data(MANY)),
    ("noquota", "quota", EXT4, PLAIN),
    ("prjquota", "prjquota", None, PLAIN),
    ("resuid", "resuid", EXT4, Effect::Data(MANY)),
    ("resgid", "resgid", EXT4, Effect::Data(MANY)),
    ("stripe", "stripe", EXT4, Effect::Data(MANY)),
    ("user_xattr", "user_xattr", EXT4, PLAIN),
    ("allocsize", "allocsize", XFS, Effect::Data(Value::Size)),
    ("filestreams", "filestreams", XFS, PLAIN),
    ("inode32", "inode", XFS, PLAIN),
    ("inode64", "inode", XFS, PLAIN),
    ("largeio", "largeio", XFS, PLAIN),
    ("nolargeio", "largeio", XFS, PLAIN),
    ("logbsize", "logbsize", XFS, Effect::Data(Value::OneOf(&["32k", "64k", "128k", "256k"]))),
    ("logbufs", "logbufs", XFS, Effect::Data(Value::Number(2, 8))),
    ("noalign", "noalign", XFS, PLAIN),
    ("nouuid", "nouuid", XFS, PLAIN),
    ("sunit", "sunit", XFS, Effect::Data(MANY)),
    ("swidth", "swidth", XFS, Effect::Data(MANY)),
    ("swalloc", "swalloc", XFS, PLAIN),
    ("uquota", "uquota", XFS, PLAIN),
    ("gquota", "gquota", XFS, PLAIN),
    ("pquota", "prjquota", XFS, PLAIN),
    ("wsync", "wsync", XFS, PLAIN),
];

/// Options that people do try, and why not.
const REFUSED: &[(&str, &str)] = &[
    ("nobarrier", "a power cut would lose data that was reported as written"),
    ("barrier=0", "a power cut would lose data that was reported as written"),
    ("data=writeback", "after a crash, files could show what another volume left on the disk"),
    ("errors=continue", "a damaged file system would be written to"),
    ("errors=panic", "one damaged volume would take the node down"),
    ("noload", "without its journal the file system is not consistent"),
    ("norecovery", "without its log the file system is not consistent"),
    ("noauto_da_alloc", "programs that replace files would lose both versions in a crash"),
    ("journal_dev", "it names another device"),
    ("journal_path", "it names another device"),
    ("logdev", "it names another device"),
    ("rtdev", "it names another device"),
    ("loop", "a volume is a device already"),
    ("bind", "the driver decides where the volume is mounted"),
    ("remount", "the driver decides when the volume is mounted"),
    ("context", "the kubelet decides over SELinux labels"),
];

/// Whether these options can be used with this file system. One option per item; an item may also hold several, with
/// commas between.
///
/// # Errors
/// The first that can't be used, in a sentence for whoever wrote it.
pub fn check(fs: Filesystem, options: &[String]) -> Result<(), OptionError> {
    parse(fs, options).map(drop)
}

/// The options as mount(2) wants them.
///
/// # Errors
/// As [`check`].
pub fn parse(fs: Filesystem, options: &[String]) -> Result<MountOptions, OptionError> {
    let mut parsed = MountOptions { read_only: false, flags: Flags::empty(), data: String::new() };
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for option in options.iter().flat_map(|item| item.split(',')).map(str::trim).filter(|option| !option.is_empty()) {
        let (group, effect) = find(fs, option)?;
        if let Some((_, earlier)) = seen.iter().find(|(other, _)| *other == group) {
            if *earlier == option {
                continue;
            }
            let (one, other) = (shortened(earlier), shortened(option));
            return Err(OptionError::Contradiction { what: "mount", one, other });
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
    let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
    let what = "mount";
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == option || *refused == name) {
        return Err(OptionError::Refused { what, option: shortened(option), fs, why });
    }
    let of_fs = |row: &&Row| row.2.is_none_or(|only| only == fs);
    let Some((_, group, _, effect)) = ALLOWED.iter().filter(of_fs).find(|row| row.0 == name) else {
        let possible = ALLOWED.iter().filter(of_fs).map(|row| row.0).collect::<Vec<_>>().join(", ");
        return Err(OptionError::Unknown { what, option: shortened(option), fs, possible });
    };
    let takes = match effect {
        // `barrier=1` is how it is often written.
        Effect::Data(_) if name == "barrier" && value.is_some() => SWITCH,
        Effect::Data(takes) => *takes,
        _ => Value::No,
    };
    takes.check(value).map_err(|why| OptionError::Value { what, option: shortened(option), why })?;
    Ok((group, *effect))
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, Effect, Flags, REFUSED, check, parse};
    use crate::allowed::OptionError;
    use host::Filesystem::{Ext4, Xfs};
    use proptest::prelude::*;

    fn list(options: &[&str]) -> Vec<String> {
        options.iter().map(|&option| option.to_owned()).collect()
    }

    #[test]
    fn options_become_flags_and_data() {
        let parsed = parse(Ext4, &list(&["noatime,nosuid", "ro", "commit=30", " discard ", "", "defaults"])).unwrap();
        assert_eq!(parsed.flags, Flags::NOATIME | Flags::NOSUID);
        assert!(parsed.read_only);
        assert_eq!(parsed.data, "commit=30,discard");
        assert_eq!(parse(Xfs, &[]).unwrap().data, "");
        assert_eq!(parse(Ext4, &list(&["noatime", "noatime"])).unwrap().flags, Flags::NOATIME);
    }

    #[test]
    fn contradictions_are_refused() {
        for pair in [["ro", "rw"], ["noatime", "relatime"], ["commit=5", "commit=6"], ["discard", "nodiscard"]] {
            let error = check(Ext4, &list(&pair)).unwrap_err();
            assert!(matches!(error, OptionError::Contradiction { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_dangerous_or_unknown_is_refused() {
        for option in ["nobarrier", "barrier=0", "journal_path=/dev/sda", "data=writeback", "errors=panic", "bind"] {
            assert!(matches!(check(Ext4, &list(&[option])), Err(OptionError::Refused { .. })), "{option}");
        }
        for option in ["nosuchthing", "uid=0", "nouuid", "allocsize=1m", "ro\n", "-o", "x-systemd.requires=/x"] {
            if option.trim() != "ro" {
                assert!(matches!(check(Ext4, &list(&[option])), Err(OptionError::Unknown { .. })), "{option}");
            }
        }
        for option in ["commit", "commit=0", "commit=-1", "ro=1", "noatime=", "data=none"] {
            assert!(matches!(check(Ext4, &list(&[option])), Err(OptionError::Value { .. })), "{option}");
        }
    }

    #[test]
    fn every_allowed_option_can_be_used_and_none_is_refused_as_well() {
        for (name, _, fs, effect) in ALLOWED {
            assert!(!REFUSED.iter().any(|(refused, _)| refused == name), "{name}");
            if !matches!(effect, Effect::Data(value) if value.check(None).is_err()) {
                assert!(check(fs.unwrap_or(Ext4), &list(&[name])).is_ok(), "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_unseemly_reaches_the_kernel(options in proptest::collection::vec("[a-z_]{0,8}(=[^,]{0,6})?", 0..4)) {
            for fs in [Ext4, Xfs] {
                if let Ok(parsed) = parse(fs, &options) {
                    prop_assert!(parsed.data.bytes().all(|b| b.is_ascii_alphanumeric() || b"=,_-".contains(&b)));
                }
            }
        }
    }
}
