//! Generates whole inputs: arguments as the kubelet passes them, with random defects.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::fixture::Fixture;
use super::random::Random;
use super::{json, words};

/// The arguments of one call.
pub(crate) struct Input {
    /// The driver's arguments.
    pub(crate) args: Vec<OsString>,
    /// Whether bytes were changed at random, which may turn a hostile name into a valid one.
    pub(crate) mutated: bool,
}

/// Generates an input.
pub(crate) fn input(random: &mut Random, fixture: &Fixture) -> Input {
    let mut args = call(random, fixture);
    let mut mutated = false;
    while random.chance(200) {
        mutated |= change(random, &mut args, fixture);
    }
    Input { args, mutated }
}

/// Generates a documented call-out; the kubelet's source has the order of the arguments.
fn call(random: &mut Random, fixture: &Fixture) -> Vec<OsString> {
    let verb = random.pick(words::CALLS);
    let shape: &[&str] = match verb {
        "init" => &[],
        "getvolumename" => &["json"],
        "attach" | "isattached" => &["json", "node"],
        "detach" => &["name", "node"],
        "waitforattach" => &["device", "json"],
        "mountdevice" => &["global", "device", "json"],
        "unmountdevice" => &["global"],
        "mount" if random.chance(100) => &["pod", "device", "json"],
        "mount" => &["pod", "json"],
        "unmount" => &["pod"],
        "expandvolume" => &["json", "global", "size", "size"],
        _ if random.chance(100) => &["json", "device", "global", "size", "size"],
        _ => &["json", "device", "pod", "size", "size"],
    };
    let rest = shape.iter().map(|kind| match *kind {
        "json" => json::options(random).into(),
        "node" => random
            .pick(&["node1", "node1", "node2", "Zq7 x", ""])
            .into(),
        "name" => words::name(random).into(),
        "device" => device(random).into(),
        "pod" => fixture.pod_folder(random),
        "global" => fixture.global_folder(random),
        _ => words::size(random).into(),
    });
    let rest: Vec<OsString> = rest.collect();
    std::iter::once(verb.into()).chain(rest).collect()
}

fn device(random: &mut Random) -> &'static str {
    let own = "/dev/mapper/flexlvm--fuzz--none-pvc--1";
    random.pick(&[
        "",
        "",
        own,
        own,
        "/dev/dm-3",
        "/dev/sda",
        "/dev/../etc/passwd",
        "-Zq7",
        "dm-3",
        "/dev/mapper/Zq7 x",
    ])
}

/// Changes one argument; returns true when it changed bytes.
fn change(random: &mut Random, args: &mut Vec<OsString>, fixture: &Fixture) -> bool {
    if args.is_empty() {
        return false;
    }
    let at = random.below(args.len());
    match random.below(8) {
        0 => drop(args.remove(at)),
        1 => args.insert(at, words::hostile(random).into()),
        2 => {
            let twice = args[at].clone();
            args.push(twice);
        }
        3 => {
            let other = random.below(args.len());
            args.swap(at, other);
        }
        4 => args[at] = words::hostile(random).into(),
        5 => args[at] = fixture.pod_folder(random),
        6 => {
            args[at] = if random.chance(100) {
                "x".repeat(100 << 10).into()
            } else {
                json::options(random).into()
            }
        }
        _ => {
            args[at] = garbled(random, &args[at]);
            return true;
        }
    }
    false
}

/// Changes, removes or inserts some bytes.
fn garbled(random: &mut Random, arg: &OsString) -> OsString {
    let mut bytes = arg.as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let byte = u8::try_from(random.below(256)).unwrap();
        match random.below(4) {
            0 => bytes.insert(at, byte),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => bytes.push(byte),
        }
    }
    OsString::from_vec(bytes)
}
