//! A part of a physical volume, LVM's word for a disk of a volume group.
//! Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a logical volume takes of one physical volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// LVM's uuid of the physical volume: its device's name may change with every start of the
    /// node.
    #[schemars(length(min = 1, max = 64))]
    pub uuid: String,
    /// How much of it, in whole extents.
    pub size: Quantity,
}
