//! Why a call-out fails. Only the user reads it: no caller branches on it.

use flexvolume::option_lists::value::OptionError;
use flexvolume::options::OptionsError;
use flexvolume::settings::SettingsError;
use host::block::DeviceError;
use host::error::IoError;

/// Why a call-out fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The volume's options are invalid.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A mount or mkfs option is invalid.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The driver's settings are invalid.
    #[error(transparent)]
    DriverSettings(#[from] SettingsError),
    /// An operation on the node failed.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// The driver refuses, or a check of its own failed: one sentence for the user, with the object,
    /// the reason and the remedy. No caller distinguishes these.
    #[error("{0}")]
    Failed(String),
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Host(error.into())
    }
}

impl From<IoError> for Error {
    fn from(error: IoError) -> Self {
        Self::Host(error.into())
    }
}
