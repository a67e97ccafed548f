//! Generates the options as JSON: as the kubelet writes them, with an increasing number of defects.

use super::random::Random;
use super::words::{self, GROUP, KEY, SECRET, UUID};

/// Generates one JSON document, usually an object of strings.
pub(crate) fn options(random: &mut Random) -> String {
    let mut members = members(random);
    while random.chance(350) {
        spoil(random, &mut members);
    }
    let body: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{}:{value}", text(random, key)))
        .collect();
    let object = format!("{{{}}}", body.join(","));
    match random.below(100) {
        0 => format!(" \n\t{object}\r\n "),
        1 => format!("{object}{object}"),
        2 => format!("[{object}]"),
        3 => "[".repeat(random.below(20_000)),
        4 => random
            .pick(&[
                "",
                "null",
                "0",
                "\"c2VjcmV0Zr\"",
                "{",
                "{}",
                "[]",
                "{\"a\":{}}",
                "\u{feff}{}",
            ])
            .to_owned(),
        _ => object,
    }
}

/// Generates the members that the kubelet would write for a volume, each value as JSON.
fn members(random: &mut Random) -> Vec<(String, String)> {
    let fs = random.pick(&["", "ext4", "xfs", "btrfs", "ext4", "ext4", "xfs", "vfat"]);
    let readwrite = random.pick(&["rw", "ro", "rw"]);
    let mut pairs = vec![
        ("kubernetes.io/fsType", fs.to_owned()),
        ("kubernetes.io/readwrite", readwrite.to_owned()),
        ("kubernetes.io/pvOrVolumeName", words::name(random)),
        ("volumegroup", GROUP.to_owned()),
        (
            "volumeID",
            random.pick(&["pvc-1", "pvc-2", "data"]).to_owned(),
        ),
    ];
    // Without a UUID it is a static volume.
    if !random.chance(200) {
        pairs.push(("uuid", UUID.to_owned()));
        pairs.push((
            "key",
            random
                .pick(&[KEY, KEY, KEY, "0", "ffffffffffffffffffffffffffffffff"])
                .to_owned(),
        ));
    }
    if !random.chance(100) {
        pairs.push(("size", words::good_size(random)));
    }
    if random.chance(150) {
        pairs.push(("mkfsOptions", words::mkfs(random)));
    }
    if random.chance(150) {
        pairs.push(("mountOptions", words::mount(random)));
    }
    if random.chance(100) {
        pairs.push((
            "fsck",
            random.pick(&["auto", "never", "always", "Zq7"]).to_owned(),
        ));
    }
    if random.chance(300) {
        pairs.push((
            "kubernetes.io/secret/key",
            format!("{SECRET}{}", random.below(1 << 30)),
        ));
    }
    if random.chance(200) {
        pairs.push(("kubernetes.io/pod.name", words::name(random)));
        pairs.push(("kubernetes.io/mounterArgs.FsGroup", "1000".to_owned()));
    }
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), text(random, &value)))
        .collect()
}

/// Introduces one random defect.
fn spoil(random: &mut Random, members: &mut Vec<(String, String)>) {
    if members.is_empty() {
        return;
    }
    let at = random.below(members.len());
    let is_secret = members[at].1.contains(SECRET);
    match random.below(9) {
        0 => drop(members.remove(at)),
        1 => {
            let twice = members[at].clone();
            members.push(twice);
        }
        2 => {
            random
                .pick(&[
                    "null",
                    "1",
                    "true",
                    "{}",
                    "[\"a\"]",
                    "-1e999",
                    "\"\\ud800\"",
                ])
                .clone_into(&mut members[at].1);
        }
        3 => members[at].0 = words::hostile(random),
        4 => members[at].0 = members[at].0.to_uppercase(),
        5 => members.push((words::name(random), text(random, "x"))),
        6 => {
            let length = random.below(110 << 10);
            members[at].1 = text(random, &"x".repeat(length));
        }
        // A secret stays the value of its own key.
        _ if is_secret => {}
        7 => {
            let value = words::size(random);
            members[at].1 = text(random, &value);
        }
        _ => {
            let value = words::hostile(random);
            members[at].1 = text(random, &value);
        }
    }
}

/// Generates a JSON string, sometimes with needless escapes, as Go writes `<`.
fn text(random: &mut Random, content: &str) -> String {
    let plain = serde_json::Value::from(content).to_string();
    if !random.chance(50) || content.is_empty() {
        return plain;
    }
    let escaped: Vec<String> = content
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    format!("\"{}\"", escaped.concat())
}
