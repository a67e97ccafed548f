//! Why LVM's output can't be used. Pure.

use crate::lvm::names::NameError;

/// What is wrong with LVM's output.
#[derive(Debug, thiserror::Error)]
pub(in crate::lvm) enum ReportError {
    /// It does not have the form of the report.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A part of a full report has several volume groups, or logical volumes of none.
    #[error("a part of the report does not describe exactly one volume group")]
    VolumeGroups,
    /// A report of one logical volume has none or several.
    #[error("it does not describe exactly one logical volume")]
    LogicalVolumes,
    /// A column with attributes is too short.
    #[error("{column} {value:?}")]
    Attributes {
        /// LVM's name of the column.
        column: &'static str,
        /// Its value.
        value: String,
    },
    /// A column is not a number.
    #[error("{0:?} is not a number")]
    Number(String),
    /// A column is not a percentage.
    #[error("{0:?} is not a percentage")]
    Percentage(String),
    /// A column is not a uuid.
    #[error(transparent)]
    Uuid(#[from] NameError),
    /// The sizes of a volume group contradict each other.
    #[error("volume group {0:?} has inconsistent sizes")]
    SizesOfGroup(String),
    /// The sizes of a physical volume contradict each other.
    #[error("{0} has inconsistent sizes")]
    SizesOfDisk(String),
    /// The output of `lvm version` has no version.
    #[error("no version found")]
    NoVersion,
}
