//! The refusals of `static_volume`.
//! Pure.

use host::lvm::tags::STATIC;

/// Why a volume can't be had by its name alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Forbidden {
    /// A claim has it.
    #[error(
        "logical volume {volume} belongs to a claim (its tag is {tag}): only the claim's own PersistentVolume, whose \
         options hold the uuid, can have it mounted"
    )]
    Claimed {
        /// `<group>/<name>`.
        volume: String,
        /// The tag that says so.
        tag: String,
    },
    /// Nobody said that it may be used.
    #[error(
        "logical volume {volume} is named without its uuid, and has no tag that allows that; if pods may use it, say \
         so on its node: lvchange --addtag {STATIC} {volume}"
    )]
    NotTagged {
        /// `<group>/<name>`.
        volume: String,
    },
}
