//! Texts that inputs consist of: valid ones, invalid ones, and those that must never reach a
//! program.

use super::random::Random;

/// Part of every text that validation must reject. No valid name contains it.
pub(crate) const HOSTILE: &str = "Zq7";

/// Part of every secret.
pub(crate) const SECRET: &str = "c2VjcmV0Zr";

/// All call-outs.
pub(crate) const CALLS: &[&str] = &[
    "init",
    "getvolumename",
    "attach",
    "detach",
    "waitforattach",
    "isattached",
    "mountdevice",
    "unmountdevice",
    "mount",
    "unmount",
    "expandvolume",
    "expandfs",
];

/// A volume group that does not exist on any machine.
pub(crate) const GROUP: &str = "flexlvm-fuzz-none";

/// The secret key of the volume in the inputs.
pub(crate) const KEY: &str = "00000000000000000000000000000000";
pub(crate) const UUID: &str = "ABCDEF-1234-5678-90ab-cdef-ghij-klmnop";

const HOSTILE_NAMES: &[&str] = &[
    "-Zq7",
    "--config=Zq7",
    "../Zq7",
    "Zq7/..",
    "Zq7 x",
    "Zq7\nx",
    "Zq7;id",
    "$(Zq7)",
    "`Zq7`",
    "Zq7|x",
    "Zq7\u{0}",
    "Zq7\"",
    "Zq7'",
    "Zq7&&x",
    "{Zq7}",
    "Zq7*",
    "Zq7\\",
    "Zq7ä",
    "@Zq7",
    "Zq7=x",
    "\u{202e}Zq7",
    "%sZq7%n",
];

const ODD_TEXTS: &[&str] = &[
    "", " ", ".", "..", "/", "-", "--", "0", "null", "true", "\n", "\u{0}", "\u{feff}", "💾", "a",
];

const NAMES: &[&str] = &[
    "pvc-1",
    "pvc-0a1b2c3d-0000-1111-2222-333344445555",
    "data",
    "a.b",
    "snapshot1",
    "x_rimage_0",
    "A+b",
];

const SIZES: &[&str] = &[
    "1073741824",
    "33554432",
    "4194304",
    "4096",
    "0",
    "1",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "+1",
    "1Gi",
    "1e9",
    " 1",
    "0x10",
    "00",
    "９",
];

const MKFS: &[&str] = &[
    "-i",
    "8192",
    "-m",
    "1",
    "-m1",
    "-b",
    "4096",
    "-O",
    "^metadata_csum",
    "quota,^quota",
    "-E",
    "stride=4",
    "offset=1",
    "-L",
    "data",
    "-d",
    "agcount=4",
    "size=1g",
    "-K",
    "-f",
    "-l",
    "logdev=/dev/sda",
    "-m",
    "reflink=0",
    "crc=0",
    "-n",
    "-s",
    "size=4k",
    "--",
    "-",
    "-F",
    "Zq7/x",
    "-LZq7/x",
    "-L-Zq7",
    "-OZq7,",
    "-J",
    "device=/dev/Zq7",
    "-é",
];

const MOUNT: &[&str] = &[
    "ro",
    "rw",
    "noatime",
    "relatime",
    "nosuid",
    "nodev",
    "commit=5",
    "commit=0",
    "data=journal",
    "data=writeback",
    "discard",
    "nodiscard",
    "nouuid",
    "barrier=0",
    "barrier=1",
    "journal_path=/dev/Zq7",
    "context=Zq7",
    "bind",
    "remount",
    "allocsize=1m",
    "compress=zstd",
    "subvol=/Zq7",
    "device=/dev/Zq7",
    "x-Zq7",
    "Zq7=1",
    "commit=Zq7",
    "usrjquota=Zq7",
    "loop",
];

/// Generates a text that is not a valid name.
pub(crate) fn hostile(random: &mut Random) -> String {
    match random.below(8) {
        0 => random.pick(ODD_TEXTS).to_owned(),
        1 => format!("{HOSTILE}{}", "x".repeat(random.below(2000) + 128)),
        _ => random.pick(HOSTILE_NAMES).to_owned(),
    }
}

/// Generates a name, usually a valid one.
pub(crate) fn name(random: &mut Random) -> String {
    if random.chance(150) {
        hostile(random)
    } else {
        random.pick(NAMES).to_owned()
    }
}

/// Generates a size, usually a number.
pub(crate) fn size(random: &mut Random) -> String {
    if random.chance(50) {
        hostile(random)
    } else {
        random.pick(SIZES).to_owned()
    }
}

/// Generates a valid size.
pub(crate) fn good_size(random: &mut Random) -> String {
    random.pick(&SIZES[..3]).to_owned()
}

/// Generates up to three mkfs options.
pub(crate) fn mkfs(random: &mut Random) -> String {
    several(random, MKFS, " ")
}

/// Generates up to three mount options.
pub(crate) fn mount(random: &mut Random) -> String {
    several(random, MOUNT, ",")
}

fn several(random: &mut Random, from: &[&str], separator: &str) -> String {
    let count = random.below(4);
    (0..count)
        .map(|_| random.pick(from))
        .collect::<Vec<_>>()
        .join(separator)
}
