//! The measured subjects, and their preparation before the clock starts.

use std::path::Path;

use anyhow::{Context as _, Result};
use flexvolume::{Fsck, VolumeOptions};
use host::{Bytes, Device, FormatMarkerBlock, Key, KnownKeys, LvName, LvUuid, Roots, VgName, lock};

use crate::clock::{Line, shell};

/// The size of a small claim's volume.
const SIZE: Bytes = Bytes(1 << 30);

const VOLUMES: [&str; 4] = [
    "bench-formatted",
    "bench-first-bare",
    "bench-first-driver",
    "bench-first-used",
];

/// The driver's own mkfs command, also used for the bare programs.
const MKFS: [&str; 7] = ["mkfs.ext4", "-q", "-F", "-E", "nodiscard", "-m", "0"];

/// A measured subject.
pub(crate) struct Subject {
    /// The name in the table.
    pub(crate) name: &'static str,
    /// The measured commands.
    pub(crate) lines: Vec<Line>,
    before: String,
    mark: Option<VolumeOptions>,
    after: String,
}

/// Indices into the subjects, in the order of the table.
pub(crate) const TRUE: usize = 0;
pub(crate) const INIT: usize = 1;
pub(crate) const BARE: usize = 2;
pub(crate) const DRIVER: usize = 3;
pub(crate) const EXAMPLE: usize = 4;
pub(crate) const FIRST_BARE: usize = 5;
pub(crate) const FIRST_DRIVER: usize = 6;
pub(crate) const FIRST_USED: usize = 7;

impl Subject {
    /// Prepares the state before the clock starts.
    pub(crate) fn prepare(&self) -> Result<()> {
        shell(&self.before)?;
        let Some(volume) = &self.mark else {
            return Ok(());
        };
        let device = Device::open(
            &Roots::current(),
            &volume.group,
            &volume.volume,
            &volume.uuid,
        )?;
        FormatMarkerBlock::new(&volume.uuid, volume.size)?.write_unformatted(&device.claim()?)?;
        Ok(())
    }

    /// Removes the state.
    pub(crate) fn finish(&self) -> Result<()> {
        shell(&self.after).map(drop)
    }
}

/// Creates all subjects, with their volumes.
pub(crate) fn all(group: &str, driver: &str, example: &str) -> Result<Vec<Subject>> {
    let [formatted, bare, ours, used] = VOLUMES.map(|name| make(group, name));
    let formatted = formatted?;
    let bare = bare?;
    let ours = ours?;
    let used = used?;
    shell(&format!("{} {}", MKFS.join(" "), device(&formatted)))?;
    let json = json(&formatted);
    let device = device(&formatted);
    let at = |pod: &str| folder(pod, &formatted);
    let [at_bare, at_driver, at_example] = [at("bare")?, at("driver")?, at("example")?];
    let quiet = |name, lines: Vec<Line>| Subject {
        name,
        lines,
        before: String::new(),
        mark: None,
        after: String::new(),
    };
    let mount = |device: &str, folder: &str| line(&["mount", "-t", "ext4", device, folder]);
    Ok(vec![
        // Repeated, because a single start would be too short to measure.
        quiet("/bin/true, five times", vec![line(&["/bin/true"]); 5]),
        quiet("init, five times", vec![line(&[driver, "init"]); 5]),
        quiet(
            "mount and umount, the programs",
            vec![mount(&device, &at_bare), line(&["umount", &at_bare])],
        ),
        quiet(
            "mount and unmount",
            vec![
                line(&[driver, "mount", &at_driver, &json]),
                line(&[driver, "unmount", &at_driver]),
            ],
        ),
        quiet(
            "mount and unmount, the example's script",
            vec![
                line(&[example, "mount", &at_example, &json]),
                line(&[example, "unmount", &at_example]),
            ],
        ),
        first_bare(&bare)?,
        first("first mount", driver, &ours, &blank(&ours))?,
        first(
            "first mount, on space that was used before",
            driver,
            &used,
            &used_before(&used),
        )?,
    ])
}

/// Removes the volumes.
pub(crate) fn remove(group: &str) -> Result<()> {
    let paths: Vec<String> = VOLUMES
        .iter()
        .map(|name| format!("{group}/{name}"))
        .collect();
    shell(&format!(
        "udevadm settle; lvremove -qq -y {}",
        paths.join(" ")
    ))
    .map(drop)
}

fn first_bare(volume: &VolumeOptions) -> Result<Subject> {
    let folder = folder("first", volume)?;
    let device = device(volume);
    let mkfs = MKFS
        .iter()
        .map(|&word| word.to_owned())
        .chain([device.clone()])
        .collect();
    let lines = vec![mkfs, line(&["mount", "-t", "ext4", &device, &folder])];
    let before = blank(volume);
    let after = format!("umount {folder}");
    Ok(Subject {
        name: "mkfs and mount, the programs",
        lines,
        before,
        mark: None,
        after,
    })
}

fn first(
    name: &'static str,
    driver: &str,
    volume: &VolumeOptions,
    before: &str,
) -> Result<Subject> {
    let folder = folder("first", volume)?;
    let lines = vec![line(&[driver, "mount", &folder, &json(volume)])];
    let after = format!("umount {folder}");
    Ok(Subject {
        name,
        lines,
        before: before.to_owned(),
        mark: Some(volume.clone()),
        after,
    })
}

/// Returns the script that makes the space zero, as on a new disk.
fn blank(volume: &VolumeOptions) -> String {
    format!("blkdiscard -f {}", device(volume))
}

/// Returns the script that simulates old content: without a signature, and not zero.
fn used_before(volume: &VolumeOptions) -> String {
    let device = device(volume);
    format!(
        "blkdiscard -f {device}; yes data | head -c 1M | dd of={device} bs=64k seek=4 conv=notrunc,fsync status=none"
    )
}

fn line(words: &[&str]) -> Line {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Creates a logical volume as the agent does, except for the format marker.
fn make(group: &str, name: &str) -> Result<VolumeOptions> {
    let key = Key::new("0123456789abcdef0123456789abcdef").context("not a key")?;
    shell(&format!(
        "lvcreate -qq -y -Wy -Zy --addtag {} -n {name} -L {}b {group}",
        key.digest().tag(),
        SIZE.0
    ))?;
    let uuid = LvUuid::new(shell(&format!(
        "lvs --noheadings -o lv_uuid {group}/{name}"
    ))?)?;
    KnownKeys::in_folder(Path::new(lock::FOLDER)).remember(&uuid, &key.digest())?;
    Ok(VolumeOptions {
        group: VgName::new(group)?,
        volume: LvName::new(name)?,
        uuid,
        key,
        size: SIZE,
        mkfs: Vec::new(),
        mount: Vec::new(),
        fsck: Fsck::default(),
    })
}

fn device(volume: &VolumeOptions) -> String {
    format!("/dev/{}/{}", volume.group, volume.volume)
}

fn folder(pod: &str, volume: &VolumeOptions) -> Result<String> {
    let folder = format!(
        "/var/lib/kubelet/pods/{pod}/volumes/{}/{}",
        flexvolume::FOLDER,
        volume.volume
    );
    shell(&format!("mkdir -p {folder}"))?;
    Ok(folder)
}

fn json(volume: &VolumeOptions) -> String {
    let mut map = volume.to_map();
    for (key, value) in [
        ("fsType", "ext4"),
        ("readwrite", "rw"),
        ("pvOrVolumeName", volume.volume.as_str()),
    ] {
        map.insert(format!("kubernetes.io/{key}"), value.to_owned());
    }
    serde_json::json!(map).to_string()
}
