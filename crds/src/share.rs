//! Space on one LVM physical volume. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Space that a logical volume uses on one physical volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// LVM's UUID of the physical volume: its device name can change when the node restarts.
    #[schemars(length(min = 1, max = 64))]
    pub uuid: String,
    /// Space on it, a multiple of the volume group's extent size.
    pub size: Quantity,
}
