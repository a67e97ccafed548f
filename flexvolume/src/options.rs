//! The options of a volume: the controller writes them into `flexVolume.options` of a
//! PersistentVolume, the kubelet adds its own and passes all as JSON, and the driver reads them.
//! Pure.

use std::collections::BTreeMap;

use storage_model::names::NameError;
use storage_model::{Bytes, Filesystem, Key, LvName, LvUuid, VgName};

use crate::flat_json;
use crate::kubelet_path::is_plain;
use crate::option_lists::fsck_policy::Fsck;
use crate::option_lists::value::shortened;

/// The volume group's name; this key is also that of the Kubernetes LVM example.
pub const GROUP: &str = "volumegroup";
/// The logical volume's name; this key is also that of the Kubernetes LVM example.
pub const VOLUME: &str = "volumeID";
/// LVM's UUID of the logical volume, because a name can be reused. Without it, the volume's tags
/// must permit pods to use the volume by name alone.
pub const UUID: &str = "uuid";
/// The secret key of the logical volume: it authorizes the PersistentVolume to use the volume.
pub const KEY: &str = "key";
/// The initial size of the logical volume in bytes, which determines the position of its format
/// marker. It stays the same when the volume is expanded.
pub const SIZE: &str = "size";
/// Options for mkfs, separated by spaces.
pub const MKFS: &str = "mkfsOptions";
/// When the file system is checked before it is mounted: see [`Fsck`].
pub const FSCK: &str = "fsck";
/// Mount options, separated by commas.
pub const MOUNT: &str = "mountOptions";

const FS_TYPE: &str = "kubernetes.io/fsType";
const READ_WRITE: &str = "kubernetes.io/readwrite";
const NAME: &str = "kubernetes.io/pvOrVolumeName";

/// The options that a PersistentVolume holds; they are immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeOptions {
    /// Name of the volume group.
    pub group: VgName,
    /// Name of the logical volume.
    pub volume: LvName,
    /// LVM's UUID of the logical volume.
    pub uuid: LvUuid,
    /// The volume's secret key.
    pub key: Key,
    /// Initial size of the logical volume.
    pub size: Bytes,
    /// Options for mkfs, see [`mkfs`](crate::option_lists::mkfs).
    pub mkfs: Vec<String>,
    /// Mount options, see [`mount`](crate::option_lists::mount).
    pub mount: Vec<String>,
    /// When the file system is checked.
    pub fsck: Fsck,
}

impl VolumeOptions {
    /// Returns the options as `flexVolume.options`.
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

/// The options that the kubelet passes for a volume, as far as the driver needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name of the PersistentVolume, or of the pod's inline volume.
    pub name: String,
    /// Name of the volume group.
    pub group: VgName,
    /// Name of the logical volume.
    pub volume: LvName,
    /// Evidence that the volume is the right one and may be used; `None` for a volume that an admin
    /// has tagged for use by name.
    pub proof: Option<Proof>,
    /// Options for mkfs.
    pub mkfs: Vec<String>,
    /// Mount options.
    pub mount: Vec<String>,
    /// When the file system is checked before it is mounted.
    pub fsck: Fsck,
    /// The requested file system.
    pub filesystem: Filesystem,
    /// Whether the pod requests a read-only mount.
    pub read_only: bool,
}

/// Values of the PersistentVolume, which tenants can neither read nor write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// LVM's uuid of the logical volume.
    pub uuid: LvUuid,
    /// The volume's secret key.
    pub key: Key,
    /// Initial size of the logical volume.
    pub size: Bytes,
}

/// Why the options can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The text is not a flat JSON object of strings. It is not repeated: it can hold secrets.
    #[error(
        "the options are not one JSON object of strings with distinct keys (line {line}, column {column})"
    )]
    Json {
        /// Line of the error, from 1.
        line: usize,
        /// Column of the error, from 1.
        column: usize,
    },
    /// A required option is missing.
    #[error("the option {0:?} is missing")]
    Missing(&'static str),
    /// The name is missing, or Kubernetes could not have assigned it to a volume.
    #[error("the option {NAME:?} must be the name of a volume in Kubernetes")]
    NoName,
    /// The driver does not know the option.
    #[error(
        "the option {0:?} is unknown; there are volumegroup, volumeID, uuid, key, size, mkfsOptions, mountOptions and fsck"
    )]
    Unknown(String),
    /// A name or UUID is invalid.
    #[error("the option {key:?} can't be used")]
    Name {
        /// The option.
        key: &'static str,
        /// Why it is invalid.
        #[source]
        source: NameError,
    },
    /// The key is invalid. It is not repeated.
    #[error("the option \"key\" must be 32 hexadecimal digits (0-9 and a-f)")]
    Key,
    /// The size is invalid.
    #[error("the option \"size\" is {0:?}, but must be a number of bytes")]
    Size(String),
    /// The file system is not supported.
    #[error("the file system {0:?} is not one of {names}", names = Filesystem::NAMES)]
    Filesystem(String),
    /// The value is neither `auto` nor `never`.
    #[error("the option \"fsck\" is {0:?}, but must be auto or never")]
    Fsck(String),
    /// The value is neither `rw` nor `ro`.
    #[error("kubernetes.io/readwrite is {0:?}, but must be rw or ro")]
    ReadWrite(String),
}

fn parse_flat(json: &str) -> Result<BTreeMap<String, String>, OptionsError> {
    flat_json::parse(json).map_err(|error| OptionsError::Json {
        line: error.line(),
        column: error.column(),
    })
}

/// Parses the options that the kubelet passes.
///
/// # Errors
/// When an option is missing, unknown or invalid.
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
    // A misspelt option would silently have no effect. Options that Kubernetes adds are exempt.
    let unknown = map.keys().find(|key| {
        !key.split_once('/')
            .is_some_and(|(prefix, _)| prefix.ends_with("kubernetes.io"))
    });
    match unknown {
        Some(key) => Err(OptionsError::Unknown(shortened(key))),
        None => Ok(options),
    }
}

/// Returns the name of the PersistentVolume, or of the pod's inline volume, from options that may
/// hold nothing else.
///
/// # Errors
/// When the options are invalid, or hold no name.
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
    let group = map.remove(GROUP).ok_or(OptionsError::Missing(GROUP))?;
    let volume = map.remove(VOLUME).ok_or(OptionsError::Missing(VOLUME))?;
    let key = map.remove(KEY);
    let size = map.remove(SIZE);
    let proof = match map.remove(UUID) {
        Some(uuid) => Some(Proof {
            uuid: LvUuid::new(uuid).map_err(invalid(UUID))?,
            key: Key::new(&key.ok_or(OptionsError::Missing(KEY))?).ok_or(OptionsError::Key)?,
            size: parse_size(&size.ok_or(OptionsError::Missing(SIZE))?)?,
        }),
        // In the Kubernetes LVM example, the size is free text.
        None => None,
    };
    Ok(Options {
        name,
        group: VgName::new(group).map_err(invalid(GROUP))?,
        volume: LvName::new(volume).map_err(invalid(VOLUME))?,
        proof,
        mkfs: map
            .remove(MKFS)
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect(),
        mount: split(&map.remove(MOUNT).unwrap_or_default()),
        fsck: match map.remove(FSCK) {
            None => Fsck::default(),
            Some(text) => {
                Fsck::from_name(&text).ok_or_else(|| OptionsError::Fsck(shortened(&text)))?
            }
        },
        filesystem,
        read_only,
    })
}

/// Converts the error about the name in this option.
fn invalid(key: &'static str) -> impl FnOnce(NameError) -> OptionsError {
    move |source| OptionsError::Name { key, source }
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
