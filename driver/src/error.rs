//! Why a call-out fails.

use flexvolume::option_lists::value::OptionError;
use flexvolume::options::OptionsError;
use flexvolume::settings::SettingsError;

use crate::callouts::args::CallError;
use crate::mounting::plan::Refusal;
use crate::volume::static_volume::StaticVolumeError;

/// Why a call-out fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments are invalid.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The volume's options are invalid.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A mount or mkfs option is invalid.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The driver's settings are invalid.
    #[error(transparent)]
    DriverSettings(#[from] SettingsError),
    /// The volume may not be used by its name alone.
    #[error(transparent)]
    StaticVolumeError(#[from] StaticVolumeError),
    /// The driver refuses to mount or format the volume.
    #[error("logical volume {volume}")]
    Refused {
        /// `<group>/<name>`.
        volume: String,
        /// The reason.
        #[source]
        source: Refusal,
    },
    /// A check of the driver's own failed: what, why, and what to do, in one sentence.
    #[error("{0}")]
    Failed(String),
    /// An operation on the node failed.
    #[error(transparent)]
    Host(#[from] host::Error),
}
