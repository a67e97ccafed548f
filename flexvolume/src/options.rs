//! The options of a volume: the controller writes them into `flexVolume.options` of a
//! PersistentVolume, the kubelet passes them on as JSON together with its own, and the driver reads
//! them. Pure.

use std::collections::BTreeMap;

use host::lvm::names::NameError;
use host::{Bytes, Filesystem, Key, LvName, LvUuid, VgName};

use crate::flat_json;
use crate::kubelet_path::is_plain;
use crate::option_lists::fsck_policy::Fsck;
use crate::option_lists::value::shortened;

/// The volume group's name; the key is the Kubernetes LVM example's.
pub const GROUP: &str = "volumegroup";
/// The logical volume's name; the key is the Kubernetes LVM example's.
pub const VOLUME: &str = "volumeID";
/// LVM's uuid of the logical volume: names can come to mean another one. Without it, the volume's
/// tags have to say that pods may use it by its name alone.
pub const UUID: &str = "uuid";
/// The key to the logical volume: the proof that whoever wrote this may have it.
pub const KEY: &str = "key";
/// The size in bytes that the logical volume was made with: its format marker stands by it. It stays
/// when the volume grows.
pub const SIZE: &str = "size";
/// Options for mkfs, with spaces between.
pub const MKFS: &str = "mkfsOptions";
/// When the file system is checked before it is mounted: see [`Fsck`].
pub const FSCK: &str = "fsck";
/// Options for the mount, with commas between.
pub const MOUNT: &str = "mountOptions";

const FS_TYPE: &str = "kubernetes.io/fsType";
const READ_WRITE: &str = "kubernetes.io/readwrite";
const NAME: &str = "kubernetes.io/pvOrVolumeName";

/// What a PersistentVolume says of its logical volume. It can't be changed once it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeOptions {
    /// The volume group.
    pub group: VgName,
    /// The logical volume.
    pub volume: LvName,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// The key to it.
    pub key: Key,
    /// Its size when it was made.
    pub size: Bytes,
    /// Options for mkfs, see [`mkfs`](crate::option_lists::mkfs).
    pub mkfs: Vec<String>,
    /// Options for the mount, see [`mount`](crate::option_lists::mount).
    pub mount: Vec<String>,
    /// When it is checked.
    pub fsck: Fsck,
}

impl VolumeOptions {
    /// As `flexVolume.options`.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut map = BTreeMap::from([
            (GROUP.to_owned(), self.group.to_string()),
            (VOLUME.to_owned(), self.volume.to_string()),
            (UUID.to_owned(), self.uuid.to_string()),
            (KEY.to_owned(), self.key.secret().to_owned()),
            (SIZE.to_owned(), self.size.0.to_string()),
        ]);
        for (key, options, between) in [(MKFS, &self.mkfs, " "), (MOUNT, &self.mount, ",")] {
            if !options.is_empty() {
                map.insert(key.to_owned(), options.join(between));
            }
        }
        if self.fsck != Fsck::default() {
            map.insert(FSCK.to_owned(), self.fsck.name().to_owned());
        }
        map
    }
}

/// Everything that the kubelet says about a volume, as far as the driver needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The PersistentVolume's name, or that of the pod's volume.
    pub name: String,
    /// The volume group.
    pub group: VgName,
    /// The logical volume.
    pub volume: LvName,
    /// What shows that this volume is meant, and may be used; `None` for one that an admin has
    /// tagged for it.
    pub proof: Option<Proof>,
    /// Options for mkfs.
    pub mkfs: Vec<String>,
    /// Options for the mount.
    pub mount: Vec<String>,
    /// Whether the file system is checked before it is mounted.
    pub fsck: Fsck,
    /// The file system that is wanted.
    pub filesystem: Filesystem,
    /// Whether the pod asked for a read-only mount.
    pub read_only: bool,
}

/// What stands in objects alone that users can't write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// LVM's uuid of the logical volume.
    pub uuid: LvUuid,
    /// The key to it.
    pub key: Key,
    /// Its size when it was made.
    pub size: Bytes,
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// No flat JSON object of strings. The JSON itself is not repeated: it can hold secrets.
    #[error(
        "the options are not one JSON object of strings with distinct keys (line {line}, column {column})"
    )]
    Json {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// One is not there.
    #[error("the option {0:?} is missing")]
    Missing(&'static str),
    /// The volume has no name that Kubernetes could have given it.
    #[error("the option {NAME:?} has to be there, and the name of a volume in Kubernetes")]
    NoName,
    /// One is unknown.
    #[error(
        "the option {0:?} is unknown; there are volumegroup, volumeID, uuid, key, size, mkfsOptions, mountOptions and fsck"
    )]
    Unknown(String),
    /// A name or uuid is none.
    #[error("the option {key:?} can't be used")]
    Name {
        /// The option.
        key: &'static str,
        /// Why.
        #[source]
        source: NameError,
    },
    /// The key is none. It is not repeated.
    #[error("the option \"key\" has to be 32 of the digits 0-9 and a-f")]
    Key,
    /// The size is none.
    #[error("the option \"size\" is {0:?}, and has to be a number of bytes")]
    Size(String),
    /// The file system is none of ours.
    #[error("the file system {0:?} is not one of {names}", names = Filesystem::NAMES)]
    Filesystem(String),
    /// Neither `auto` nor `never`.
    #[error("the option \"fsck\" is {0:?}, and has to be auto or never")]
    Fsck(String),
    /// Neither `rw` nor `ro`.
    #[error("kubernetes.io/readwrite is {0:?}, and has to be rw or ro")]
    ReadWrite(String),
}

fn parse_flat(json: &str) -> Result<BTreeMap<String, String>, OptionsError> {
    flat_json::parse(json).map_err(|error| OptionsError::Json {
        line: error.line(),
        column: error.column(),
    })
}

/// Reads what the kubelet passes.
///
/// # Errors
/// When something is missing, unknown or can't be used.
pub fn parse(json: &str) -> Result<Options, OptionsError> {
    let mut map = parse_flat(json)?;
    let name = map.remove(NAME).unwrap_or_default();
    let filesystem = match map.remove(FS_TYPE).unwrap_or_default() {
        none if none.is_empty() => Filesystem::Ext4,
        text => Filesystem::from_name(&text)
            .ok_or_else(|| OptionsError::Filesystem(shortened(&text)))?,
    };
    let read_only = match map.remove(READ_WRITE).as_deref() {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(other) => return Err(OptionsError::ReadWrite(shortened(other))),
    };
    let options = parse_own(&mut map, name, filesystem, read_only)?;
    // A misspelt option would be silently without effect. What Kubernetes adds of its own is not
    // ours to judge.
    let of_kubernetes = |key: &str| {
        key.split_once('/')
            .is_some_and(|(prefix, _)| prefix.ends_with("kubernetes.io"))
    };
    match map.keys().find(|key| !of_kubernetes(key)) {
        Some(key) => Err(OptionsError::Unknown(shortened(key))),
        None => Ok(options),
    }
}

/// The name of the PersistentVolume, or of the pod's volume: all that the kubelet says when it has
/// nothing else.
///
/// # Errors
/// When the options are none, or hold no name.
pub fn name(json: &str) -> Result<String, OptionsError> {
    parse_flat(json)?
        .remove(NAME)
        .filter(|name| is_plain(name.as_bytes()))
        .ok_or(OptionsError::NoName)
}

fn parse_own(
    map: &mut BTreeMap<String, String>,
    name: String,
    filesystem: Filesystem,
    read_only: bool,
) -> Result<Options, OptionsError> {
    let mut take = |key| map.remove(key);
    let group = take(GROUP).ok_or(OptionsError::Missing(GROUP))?;
    let volume = take(VOLUME).ok_or(OptionsError::Missing(VOLUME))?;
    let wrong = |key| move |source| OptionsError::Name { key, source };
    let (key, size) = (take(KEY), take(SIZE));
    let proof = match take(UUID) {
        Some(uuid) => Some(Proof {
            uuid: LvUuid::new(uuid).map_err(wrong(UUID))?,
            key: Key::new(&key.ok_or(OptionsError::Missing(KEY))?).ok_or(OptionsError::Key)?,
            size: parse_size(&size.ok_or(OptionsError::Missing(SIZE))?)?,
        }),
        // In the Kubernetes LVM example, the size is text for people.
        None => None,
    };
    Ok(Options {
        name,
        group: VgName::new(group).map_err(wrong(GROUP))?,
        volume: LvName::new(volume).map_err(wrong(VOLUME))?,
        proof,
        mkfs: take(MKFS)
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect(),
        mount: split(&take(MOUNT).unwrap_or_default()),
        fsck: match take(FSCK) {
            None => Fsck::default(),
            Some(text) => {
                Fsck::from_name(&text).ok_or_else(|| OptionsError::Fsck(shortened(&text)))?
            }
        },
        filesystem,
        read_only,
    })
}

fn parse_size(text: &str) -> Result<Bytes, OptionsError> {
    let decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let bytes = text.parse().ok().filter(|_| decimal);
    bytes
        .map(Bytes)
        .ok_or_else(|| OptionsError::Size(shortened(text)))
}

fn split(options: &str) -> Vec<String> {
    options
        .split(',')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
