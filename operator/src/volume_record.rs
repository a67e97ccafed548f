//! The tag of a logical volume that records what an Adoption needs to make its objects again, should
//! they be lost. Pure.
//!
//! LVM writes the tag with the logical volume itself, so no crash separates both. Defaults are left
//! out: LVM keeps all tags of a volume group in its metadata area, which limits the number of
//! volumes.

use std::fmt::Write as _;

use crds::LogicalVolumeSpec;
use crds::layout::{Layout, LayoutType};
use crds::logical_volume::{Filesystem, FilesystemType, Fsck};
use host::LvTag;
use host::lvm::tags::RECORD;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The access mode of almost all volumes, which the tag leaves out.
pub const DEFAULT_ACCESS_MODE: &str = "ReadWriteOnce";

/// What the tag records.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeRecord {
    /// Name of the StorageBackend.
    pub backend: String,
    /// Name of the StorageClass.
    pub storage_class: String,
    /// The layout.
    pub layout: Layout,
    /// The file system with its options.
    pub filesystem: Filesystem,
    /// Access modes of the PersistentVolume; not empty.
    pub access_modes: Vec<String>,
    /// Size in bytes of the logical volume when it was created, which determines the position of its
    /// format marker; `None` if unknown.
    pub created_size: Option<u64>,
}

impl Eq for VolumeRecord {}

impl VolumeRecord {
    /// Returns the record of a LogicalVolume, without the size at creation.
    #[must_use]
    pub fn of(spec: &LogicalVolumeSpec) -> Self {
        let mut access_modes = spec.access_modes.clone();
        if access_modes.is_empty() {
            access_modes.push(DEFAULT_ACCESS_MODE.to_owned());
        }
        Self {
            backend: spec.backend.clone(),
            storage_class: spec.storage_class.clone(),
            layout: spec.layout.clone(),
            filesystem: spec.filesystem.clone(),
            access_modes,
            created_size: None,
        }
    }

    /// Returns the tag; `None` if it is longer than LVM allows, which takes hundreds of characters of
    /// options.
    #[must_use]
    pub fn tag(&self) -> Option<LvTag> {
        let mut text = RECORD.to_owned();
        for (index, (key, value)) in self.entries().into_iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            let _ = write!(text, "{separator}{key}={value}");
        }
        LvTag::new(text).ok()
    }

    /// Finds the record among the tags of a logical volume; `None` if there is none, or it is not
    /// readable. Entries of later versions are ignored.
    #[must_use]
    pub fn from_tags(tags: &[String]) -> Option<Self> {
        tags.iter()
            .find_map(|tag| Self::parse(tag.strip_prefix(RECORD)?))
    }

    fn entries(&self) -> Vec<(&'static str, String)> {
        let Layout {
            type_,
            stripes,
            stripe_size,
            copies,
            integrity,
        } = &self.layout;
        let Filesystem {
            type_: filesystem,
            mkfs_options,
            mount_options,
            fsck,
        } = &self.filesystem;
        let mut entries = vec![
            ("backend", escape(&self.backend)),
            ("class", escape(&self.storage_class)),
        ];
        if *type_ != LayoutType::Linear {
            entries.push(("layout", type_.as_str().to_owned()));
        }
        entries.extend(stripes.map(|number| ("stripes", number.to_string())));
        entries.extend(
            stripe_size
                .as_ref()
                .map(|size| ("stripesize", escape(&size.0))),
        );
        entries.extend(copies.map(|number| ("copies", number.to_string())));
        entries.extend(integrity.map(|integrity| ("integrity", integrity.to_string())));
        entries.push(("fs", filesystem.as_str().to_owned()));
        if !mkfs_options.is_empty() {
            entries.push(("mkfs", join(mkfs_options)));
        }
        if !mount_options.is_empty() {
            entries.push(("mount", join(mount_options)));
        }
        if *fsck == Fsck::Never {
            entries.push(("fsck", "never".to_owned()));
        }
        if self.access_modes != [DEFAULT_ACCESS_MODE] {
            entries.push(("access", join(&self.access_modes)));
        }
        entries.extend(self.created_size.map(|size| ("size", size.to_string())));
        entries
    }

    fn parse(text: &str) -> Option<Self> {
        let mut record = Self {
            backend: String::new(),
            storage_class: String::new(),
            layout: Layout::default(),
            filesystem: Filesystem {
                type_: FilesystemType::Ext4,
                mkfs_options: Vec::new(),
                mount_options: Vec::new(),
                fsck: Fsck::Auto,
            },
            access_modes: vec![DEFAULT_ACCESS_MODE.to_owned()],
            created_size: None,
        };
        let mut has_filesystem = false;
        for entry in text.split(':') {
            let (key, value) = entry.split_once('=')?;
            match key {
                "backend" => record.backend = unescape(value)?,
                "class" => record.storage_class = unescape(value)?,
                "layout" => record.layout.type_ = LayoutType::from_name(value)?,
                "stripes" => record.layout.stripes = Some(value.parse().ok()?),
                "stripesize" => record.layout.stripe_size = Some(Quantity(unescape(value)?)),
                "copies" => record.layout.copies = Some(value.parse().ok()?),
                "integrity" => record.layout.integrity = Some(value.parse().ok()?),
                "fs" => {
                    record.filesystem.type_ = FilesystemType::from_name(value)?;
                    has_filesystem = true;
                }
                "mkfs" => record.filesystem.mkfs_options = split(value)?,
                "mount" => record.filesystem.mount_options = split(value)?,
                "fsck" if value == "never" => record.filesystem.fsck = Fsck::Never,
                "access" => record.access_modes = split(value)?,
                "size" => record.created_size = Some(value.parse().ok()?),
                _ => {}
            }
        }
        let is_complete =
            has_filesystem && !record.backend.is_empty() && !record.storage_class.is_empty();
        is_complete.then_some(record)
    }
}

/// Joins the items of a list, which may contain any characters.
fn join(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| escape(item)).collect();
    items.join("&")
}

fn split(text: &str) -> Option<Vec<String>> {
    text.split('&').map(unescape).collect()
}

/// Replaces the characters that a tag can't have, and those that separate entries and items.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"+_.-/=!".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "#{byte:02x}");
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('#');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::VolumeRecord;
    use crds::layout::{Layout, LayoutType};
    use crds::logical_volume::{Filesystem, FilesystemType, Fsck};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use proptest::prelude::*;

    fn record() -> VolumeRecord {
        VolumeRecord {
            backend: "fast".to_owned(),
            storage_class: "fast-ssd".to_owned(),
            layout: Layout::default(),
            filesystem: Filesystem {
                type_: FilesystemType::Ext4,
                mkfs_options: Vec::new(),
                mount_options: Vec::new(),
                fsck: Fsck::Auto,
            },
            access_modes: vec!["ReadWriteOnce".to_owned()],
            created_size: Some(1 << 30),
        }
    }

    #[test]
    fn record_of_a_plain_volume_is_short() {
        let tag = record().tag().unwrap();
        assert_eq!(
            tag.as_str(),
            "flexlvm.dev/volume=backend=fast:class=fast-ssd:fs=ext4:size=1073741824"
        );
    }

    #[test]
    fn record_of_a_later_version_is_read_and_a_damaged_one_is_not() {
        let read = |text: &str| VolumeRecord::from_tags(&["x".to_owned(), text.to_owned()]);
        let later =
            "flexlvm.dev/volume=backend=fast:class=fast-ssd:new=a#20b:fs=ext4:size=1073741824";
        assert_eq!(read(later), Some(record()));
        for damaged in [
            "flexlvm.dev/volume=",
            "flexlvm.dev/volume=backend=fast:class=s",
            "flexlvm.dev/volume=backend=fast:fs=ext4",
            "flexlvm.dev/volume=backend=fast:class=s:fs=ntfs",
            "flexlvm.dev/volume=backend=fast:class=s:fs=ext4:size=x",
            "flexlvm.dev/volume=backend=a#2:class=s:fs=ext4",
            "flexlvm.dev/volume=backend=a#zz:class=s:fs=ext4",
            "flexlvm.dev/volumes=backend=fast:class=s:fs=ext4",
        ] {
            assert_eq!(read(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn record_that_exceeds_a_tag_is_left_out() {
        let mut long = record();
        long.filesystem.mkfs_options = vec!["x".repeat(1024)];
        assert_eq!(long.tag(), None);
    }

    fn text() -> impl Strategy<Value = String> {
        "[ -~äß€]{1,12}"
    }

    prop_compose! {
        fn any_record()(
            backend in text(),
            storage_class in text(),
            type_ in prop_oneof![
                Just(LayoutType::Linear),
                Just(LayoutType::Raid10),
                Just(LayoutType::Thin),
            ],
            stripes in prop::option::of(2..32_u32),
            stripe_size in prop::option::of(text()),
            copies in prop::option::of(2..10_u32),
            integrity: Option<bool>,
            filesystem in prop_oneof![Just(FilesystemType::Ext4), Just(FilesystemType::Xfs)],
            mkfs_options in prop::collection::vec(text(), 0..3),
            mount_options in prop::collection::vec(text(), 0..3),
            fsck in prop_oneof![Just(Fsck::Auto), Just(Fsck::Never)],
            access_modes in prop::collection::vec(text(), 1..3),
            created_size: Option<u64>,
        ) -> VolumeRecord {
            VolumeRecord {
                backend,
                storage_class,
                layout: Layout {
                    type_,
                    stripes,
                    stripe_size: stripe_size.map(Quantity),
                    copies,
                    integrity,
                },
                filesystem: Filesystem { type_: filesystem, mkfs_options, mount_options, fsck },
                access_modes,
                created_size,
            }
        }
    }

    proptest! {
        #[test]
        fn record_survives_the_tag(record in any_record()) {
            let tag = record.tag().unwrap().to_string();
            prop_assert_eq!(VolumeRecord::from_tags(&[tag]), Some(record));
        }

        #[test]
        fn no_tag_breaks_the_reader(text in "[ -~]{0,60}") {
            let _ = VolumeRecord::from_tags(&[format!("flexlvm.dev/volume={text}")]);
        }
    }
}
