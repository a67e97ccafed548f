//! Allow-list of mount options per file system, for `mount`: options that any user may set. All
//! others are rejected. Pure.

use storage_model::{Filesystem, MountFlags};

use crate::option_lists::value::OptionValue;

/// Effect of a mount option.
#[derive(Clone, Copy)]
pub(crate) enum Effect {
    Nothing,
    ReadOnly,
    Flag(MountFlags),
    /// The option is passed to the file system.
    Data(OptionValue),
}

/// An option's name, the group of mutually exclusive options that it is in, and its effect.
pub(crate) type Row = (&'static str, &'static str, Effect);

const MANY: OptionValue = OptionValue::Number(0, 1 << 30);
const PLAIN: Effect = Effect::Data(OptionValue::No);

/// Options common to all file systems.
const COMMON: &[Row] = &[
    ("defaults", "defaults", Effect::Nothing),
    ("rw", "ro", Effect::Nothing),
    ("ro", "ro", Effect::ReadOnly),
    ("suid", "suid", Effect::Nothing),
    ("nosuid", "suid", Effect::Flag(MountFlags::NOSUID)),
    ("dev", "dev", Effect::Nothing),
    ("nodev", "dev", Effect::Flag(MountFlags::NODEV)),
    ("exec", "exec", Effect::Nothing),
    ("noexec", "exec", Effect::Flag(MountFlags::NOEXEC)),
    ("async", "sync", Effect::Nothing),
    ("sync", "sync", Effect::Flag(MountFlags::SYNCHRONOUS)),
    ("dirsync", "dirsync", Effect::Flag(MountFlags::DIRSYNC)),
    ("atime", "atime", Effect::Nothing),
    ("noatime", "atime", Effect::Flag(MountFlags::NOATIME)),
    ("relatime", "atime", Effect::Flag(MountFlags::RELATIME)),
    (
        "strictatime",
        "atime",
        Effect::Flag(MountFlags::STRICTATIME),
    ),
    ("diratime", "diratime", Effect::Nothing),
    (
        "nodiratime",
        "diratime",
        Effect::Flag(MountFlags::NODIRATIME),
    ),
    ("lazytime", "lazytime", Effect::Flag(MountFlags::LAZYTIME)),
    ("nolazytime", "lazytime", Effect::Nothing),
];

/// See ext4(5).
const EXT4: &[Row] = &[
    ("acl", "acl", PLAIN),
    ("auto_da_alloc", "auto_da_alloc", PLAIN),
    // `barrier=1` is a common spelling.
    (
        "barrier",
        "barrier",
        Effect::Data(OptionValue::Perhaps(&["1"])),
    ),
    ("block_validity", "block_validity", PLAIN),
    (
        "commit",
        "commit",
        Effect::Data(OptionValue::Number(1, 300)),
    ),
    (
        "data",
        "data",
        Effect::Data(OptionValue::OneOf(&["ordered", "journal"])),
    ),
    ("delalloc", "delalloc", PLAIN),
    ("nodelalloc", "delalloc", PLAIN),
    ("dioread_lock", "dioread", PLAIN),
    ("dioread_nolock", "dioread", PLAIN),
    ("discard", "discard", PLAIN),
    ("nodiscard", "discard", PLAIN),
    (
        "errors",
        "errors",
        Effect::Data(OptionValue::OneOf(&["remount-ro"])),
    ),
    ("grpid", "grpid", PLAIN),
    ("nogrpid", "grpid", PLAIN),
    ("init_itable", "init_itable", Effect::Data(MANY)),
    ("noinit_itable", "init_itable", PLAIN),
    (
        "inode_readahead_blks",
        "inode_readahead_blks",
        Effect::Data(MANY),
    ),
    ("journal_checksum", "journal_checksum", PLAIN),
    ("max_batch_time", "max_batch_time", Effect::Data(MANY)),
    ("min_batch_time", "min_batch_time", Effect::Data(MANY)),
    ("max_dir_size_kb", "max_dir_size_kb", Effect::Data(MANY)),
    ("noquota", "quota", PLAIN),
    ("prjquota", "prjquota", PLAIN),
    ("resuid", "resuid", Effect::Data(MANY)),
    ("resgid", "resgid", Effect::Data(MANY)),
    ("stripe", "stripe", Effect::Data(MANY)),
    ("user_xattr", "user_xattr", PLAIN),
];

/// See xfs(5).
const XFS: &[Row] = &[
    ("allocsize", "allocsize", Effect::Data(OptionValue::Size)),
    ("discard", "discard", PLAIN),
    ("nodiscard", "discard", PLAIN),
    ("filestreams", "filestreams", PLAIN),
    ("grpid", "grpid", PLAIN),
    ("nogrpid", "grpid", PLAIN),
    ("inode32", "inode", PLAIN),
    ("inode64", "inode", PLAIN),
    ("largeio", "largeio", PLAIN),
    ("nolargeio", "largeio", PLAIN),
    (
        "logbsize",
        "logbsize",
        Effect::Data(OptionValue::OneOf(&["32k", "64k", "128k", "256k"])),
    ),
    (
        "logbufs",
        "logbufs",
        Effect::Data(OptionValue::Number(2, 8)),
    ),
    ("noalign", "noalign", PLAIN),
    ("nouuid", "nouuid", PLAIN),
    ("sunit", "sunit", Effect::Data(MANY)),
    ("swidth", "swidth", Effect::Data(MANY)),
    ("swalloc", "swalloc", PLAIN),
    ("uquota", "uquota", PLAIN),
    ("gquota", "gquota", PLAIN),
    ("pquota", "prjquota", PLAIN),
    ("prjquota", "prjquota", PLAIN),
    ("wsync", "wsync", PLAIN),
];

/// See btrfs(5). Options that name a device, a subvolume or an older state of the file system are
/// omitted.
const BTRFS: &[Row] = &[
    ("acl", "acl", PLAIN),
    ("autodefrag", "autodefrag", PLAIN),
    ("noautodefrag", "autodefrag", PLAIN),
    ("barrier", "barrier", PLAIN),
    (
        "commit",
        "commit",
        Effect::Data(OptionValue::Number(1, 300)),
    ),
    (
        "compress",
        "compress",
        Effect::Data(OptionValue::Perhaps(COMPRESSION)),
    ),
    (
        "compress-force",
        "compress",
        Effect::Data(OptionValue::Perhaps(COMPRESSION)),
    ),
    ("datacow", "datacow", PLAIN),
    ("nodatacow", "datacow", PLAIN),
    ("datasum", "datasum", PLAIN),
    ("nodatasum", "datasum", PLAIN),
    (
        "discard",
        "discard",
        Effect::Data(OptionValue::Perhaps(&["sync", "async"])),
    ),
    ("nodiscard", "discard", PLAIN),
    ("flushoncommit", "flushoncommit", PLAIN),
    ("noflushoncommit", "flushoncommit", PLAIN),
    (
        "max_inline",
        "max_inline",
        Effect::Data(OptionValue::Number(0, 4096)),
    ),
    ("metadata_ratio", "metadata_ratio", Effect::Data(MANY)),
    ("skip_balance", "skip_balance", PLAIN),
    (
        "space_cache",
        "space_cache",
        Effect::Data(OptionValue::Perhaps(&["v2"])),
    ),
    ("ssd", "ssd", PLAIN),
    ("ssd_spread", "ssd", PLAIN),
    ("nossd", "ssd", PLAIN),
    (
        "thread_pool",
        "thread_pool",
        Effect::Data(OptionValue::Number(1, 256)),
    ),
    ("treelog", "treelog", PLAIN),
    ("notreelog", "treelog", PLAIN),
    ("user_subvol_rm_allowed", "user_subvol_rm_allowed", PLAIN),
];

const COMPRESSION: &[&str] = &[
    "no", "lzo", "zlib", "zlib:1", "zlib:3", "zlib:6", "zlib:9", "zstd", "zstd:1", "zstd:3",
    "zstd:6", "zstd:9", "zstd:12", "zstd:15",
];

/// Options that users do try, with the reason for the refusal.
pub(crate) const REFUSED: &[(&str, &str)] = &[
    (
        "nobarrier",
        "a power cut would lose data that was reported as written",
    ),
    (
        "barrier=0",
        "a power cut would lose data that was reported as written",
    ),
    (
        "data=writeback",
        "after a crash, files could contain data that another volume left on the disk",
    ),
    (
        "errors=continue",
        "a damaged file system would be written to",
    ),
    ("errors=panic", "one damaged volume would crash the node"),
    (
        "noload",
        "without its journal the file system is not consistent",
    ),
    (
        "norecovery",
        "without its log the file system is not consistent",
    ),
    (
        "noauto_da_alloc",
        "programs that replace files would lose both versions in a crash",
    ),
    (
        "nologreplay",
        "without its log the file system is not consistent",
    ),
    (
        "recovery",
        "it goes back to an older state: what was reported as written since would be lost",
    ),
    (
        "usebackuproot",
        "it goes back to an older state: what was reported as written since would be lost",
    ),
    (
        "rescue",
        "the file system would be mounted in an inconsistent state",
    ),
    ("degraded", "a volume has one device, and needs all of it"),
    ("fatal_errors", "one damaged volume would crash the node"),
    ("subvol", "a volume is mounted as a whole"),
    ("subvolid", "a volume is mounted as a whole"),
    ("device", "it names another device"),
    ("journal_dev", "it names another device"),
    ("journal_path", "it names another device"),
    ("logdev", "it names another device"),
    ("rtdev", "it names another device"),
    ("loop", "a volume is a device already"),
    ("bind", "the driver decides where the volume is mounted"),
    ("remount", "the driver decides when the volume is mounted"),
    ("context", "the kubelet sets SELinux labels"),
];

/// Returns the options that are allowed for a file system.
pub(crate) fn allowed(fs: Filesystem) -> impl Iterator<Item = &'static Row> {
    let own = match fs {
        Filesystem::Ext4 => EXT4,
        Filesystem::Xfs => XFS,
        Filesystem::Btrfs => BTRFS,
    };
    COMMON.iter().chain(own)
}
