//! Allow-list of mkfs options per file system, for `mkfs`: options that any user may set. All
//! others are rejected. Pure.

use crate::option_lists::value::{OptionValue, SWITCH};

/// What an option takes.
#[derive(Clone, Copy)]
pub(crate) enum Takes {
    /// One value.
    One(OptionValue),
    /// Comma-separated sub-options, each with or without a value.
    Several(&'static [(&'static str, OptionValue)]),
    /// Comma-separated features; those marked `true` can also be switched off with `^`.
    Features(&'static [(&'static str, bool)]),
}

const MANY: OptionValue = OptionValue::Number(0, 1 << 40);

/// See mke2fs(8).
pub(crate) const EXT4: &[(&str, Takes)] = &[
    (
        "-b",
        Takes::One(OptionValue::OneOf(&["1024", "2048", "4096"])),
    ),
    ("-e", Takes::One(OptionValue::OneOf(&["remount-ro"]))),
    ("-E", Takes::Several(EXTENDED)),
    ("-G", Takes::One(OptionValue::Number(1, 1 << 20))),
    ("-i", Takes::One(OptionValue::Number(1024, 1 << 26))),
    (
        "-I",
        Takes::One(OptionValue::OneOf(&["256", "512", "1024"])),
    ),
    (
        "-J",
        Takes::Several(&[
            ("size", OptionValue::Number(1, 1 << 20)),
            ("fast_commit_size", OptionValue::Number(1, 1 << 20)),
        ]),
    ),
    ("-L", Takes::One(OptionValue::Label(16))),
    ("-m", Takes::One(OptionValue::Percent(50))),
    ("-N", Takes::One(OptionValue::Number(16, 1 << 32))),
    ("-O", Takes::Features(FEATURES)),
    (
        "-T",
        Takes::One(OptionValue::OneOf(&[
            "small",
            "big",
            "huge",
            "news",
            "largefile",
            "largefile4",
        ])),
    ),
];

/// See mke2fs(8). `discard` would erase the format marker, and `offset` would move the file system.
///
/// No option may rely on storage being zero, since the extents can hold data of an earlier volume:
/// `assume_storage_prezeroed` and `lazy_journal_init` are omitted. With the latter, and without
/// checksums in the journal, a replay after a power cut restores directories and files of that
/// volume. `lazy_itable_init` is safe: mke2fs leaves only inode tables unwritten whose group
/// descriptors have a checksum.
const EXTENDED: &[(&str, OptionValue)] = &[
    ("lazy_itable_init", SWITCH),
    ("nodiscard", OptionValue::No),
    ("num_backup_sb", OptionValue::Number(0, 2)),
    ("packed_meta_blocks", SWITCH),
    ("resize", MANY),
    ("root_owner", OptionValue::Pair),
    ("stride", MANY),
    ("stripe_width", MANY),
    ("stripe-width", MANY),
];

/// See ext4(5). Omitted are features required for crash safety or growth (`has_journal`,
/// `resize_inode`), those that name other devices (`journal_dev`), and the one by which the driver
/// identifies an ext4 (`extent`).
const FEATURES: &[(&str, bool)] = &[
    ("64bit", true),
    ("casefold", true),
    ("dir_index", true),
    ("dir_nlink", true),
    ("encrypt", true),
    ("ext_attr", true),
    ("extra_isize", true),
    ("fast_commit", true),
    ("filetype", false),
    ("flex_bg", true),
    ("huge_file", true),
    ("inline_data", true),
    ("large_dir", true),
    ("large_file", true),
    ("metadata_csum", true),
    ("metadata_csum_seed", true),
    ("orphan_file", true),
    ("project", true),
    ("quota", true),
    ("sparse_super", true),
    ("uninit_bg", true),
    ("verity", true),
];

/// See mkfs.xfs(8). `name`, `file`, `size` of `-d` and `logdev` of `-l` determine where the file
/// system is, which the driver does.
pub(crate) const XFS: &[(&str, Takes)] = &[
    (
        "-b",
        Takes::Several(&[(
            "size",
            OptionValue::OneOf(&["1024", "2048", "4096", "1k", "2k", "4k"]),
        )]),
    ),
    (
        "-d",
        Takes::Several(&[
            ("agcount", OptionValue::Number(1, 1 << 20)),
            ("agsize", OptionValue::Size),
            ("noalign", OptionValue::No),
            ("su", OptionValue::Size),
            ("sunit", MANY),
            ("sw", MANY),
            ("swidth", MANY),
        ]),
    ),
    (
        "-i",
        Takes::Several(&[
            ("maxpct", OptionValue::Number(0, 100)),
            ("nrext64", SWITCH),
            ("size", OptionValue::OneOf(&["512", "1024", "2048"])),
            ("sparse", SWITCH),
        ]),
    ),
    (
        "-l",
        Takes::Several(&[
            ("size", OptionValue::Size),
            ("su", OptionValue::Size),
            ("sunit", MANY),
        ]),
    ),
    ("-L", Takes::One(OptionValue::Label(12))),
    (
        "-m",
        Takes::Several(&[
            ("bigtime", SWITCH),
            ("crc", OptionValue::OneOf(&["1"])),
            ("finobt", SWITCH),
            ("inobtcount", SWITCH),
            ("reflink", SWITCH),
            ("rmapbt", SWITCH),
        ]),
    ),
    (
        "-n",
        Takes::Several(&[(
            "size",
            OptionValue::OneOf(&[
                "4096", "8192", "16384", "32768", "65536", "4k", "8k", "16k", "64k",
            ]),
        )]),
    ),
    (
        "-s",
        Takes::Several(&[("size", OptionValue::OneOf(&["512", "4096", "4k"]))]),
    ),
];

/// See mkfs.btrfs(8). Omitted are profiles over several devices, `-r`, `-U`, `-b` and what changes
/// the device.
pub(crate) const BTRFS: &[(&str, Takes)] = &[
    ("-d", Takes::One(PROFILE)),
    ("-L", Takes::One(OptionValue::Label(255))),
    ("-m", Takes::One(PROFILE)),
    (
        "-n",
        Takes::One(OptionValue::OneOf(&[
            "4096", "8192", "16384", "32768", "65536", "4k", "8k", "16k", "32k", "64k",
        ])),
    ),
    ("-O", Takes::Features(BTRFS_FEATURES)),
    (
        "--csum",
        Takes::One(OptionValue::OneOf(&[
            "crc32c", "xxhash", "sha256", "blake2",
        ])),
    ),
];

const PROFILE: OptionValue = OptionValue::OneOf(&["single", "dup"]);

const BTRFS_FEATURES: &[(&str, bool)] = &[
    ("block-group-tree", true),
    ("extref", true),
    ("free-space-tree", true),
    ("mixed-bg", true),
    ("no-holes", true),
    ("quota", true),
    ("skinny-metadata", true),
    ("squota", true),
];
