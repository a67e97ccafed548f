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
    /// Its arguments are wrong.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The volume's options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// One of its mount or mkfs options is wrong.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The driver's settings are wrong.
    #[error(transparent)]
    DriverSettings(#[from] SettingsError),
    /// The volume can't be had by its name alone.
    #[error(transparent)]
    StaticVolumeError(#[from] StaticVolumeError),
    /// The volume is not to be touched.
    #[error("logical volume {volume}")]
    Refused {
        /// `<group>/<name>`.
        volume: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// Something failed on the node.
    #[error(transparent)]
    Host(#[from] host::Error),
}
