//! Reads the command line of `adopt`. Pure.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use crds::adoption::AdoptingClaim;
use crds::logical_volume::{FilesystemType, ReclaimPolicy};
use storage_model::Filesystem;

use super::Extent;
use super::request::{AdoptRequest, Selection};
use crate::cli::{AdoptArguments, Connection};

impl AdoptArguments {
    /// Returns what is requested; `namespace` is that of a claim without one.
    ///
    /// # Errors
    /// The first argument that is malformed.
    pub fn request(&self, connection: &Connection, namespace: &str) -> Result<AdoptRequest> {
        let selection = if self.all_orphans {
            Selection::Orphans {
                node: self.node.clone(),
                namespace: connection.namespace.clone(),
            }
        } else {
            self.one()?
        };
        Ok(AdoptRequest {
            selection,
            claim: self
                .claim
                .as_deref()
                .map(|claim| read_claim(claim, namespace)),
            uuid: self.uuid.clone(),
            backend: self.backend.clone(),
            storage_class: self.class.clone(),
            filesystem: self.filesystem.as_deref().map(filesystem).transpose()?,
            access_modes: self.access_modes.clone(),
            reclaim_policy: match self.reclaim_policy.as_str() {
                "Delete" => ReclaimPolicy::Delete,
                _ => ReclaimPolicy::Retain,
            },
        })
    }

    /// Returns the selected logical volume.
    fn one(&self) -> Result<Selection> {
        let node = self.node.clone().context("the node is missing")?;
        let volume = self.volume.as_deref().context("GROUP/NAME is missing")?;
        match volume
            .strip_prefix("/dev/")
            .unwrap_or(volume)
            .split_once('/')
        {
            Some((group, name)) if !group.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Selection::One {
                    node,
                    group: group.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => bail!("{volume:?} is not GROUP/NAME, as in vg0/pvc-photos"),
        }
    }

    /// Returns how far the command goes.
    #[must_use]
    pub fn extent(&self) -> Extent {
        if self.dry_run {
            return Extent::DryRun;
        }
        if self.all_orphans && !self.yes {
            return Extent::Unconfirmed;
        }
        Extent::Apply(Duration::from_secs(self.timeout))
    }
}

fn read_claim(text: &str, namespace: &str) -> AdoptingClaim {
    let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
    AdoptingClaim {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn filesystem(name: &str) -> Result<FilesystemType> {
    FilesystemType::from_name(name)
        .ok_or_else(|| anyhow!("file system {name:?} is unknown: use {}", Filesystem::NAMES))
}
