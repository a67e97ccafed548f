//! Why a call-out fails.

use crate::allowed::OptionError;
use crate::call::CallError;
use crate::forbidden::Forbidden;
use crate::options::OptionsError;
use crate::plan::Refusal;
use crate::settings::SettingsError;

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
    Settings(#[from] SettingsError),
    /// The volume can't be had by its name alone.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
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
