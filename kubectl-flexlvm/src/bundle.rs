//! `bundle`: a folder with what a maintainer needs to understand a fault, without secrets.
//!
//! A snapshot has no keys; the text of each file is searched for them once more before it is
//! written.

use std::path::Path;

use anyhow::{Context as _, Result};
use kube::Resource;
use serde::Serialize;
use serde_json::{Value, json};

use crate::doctor;
use crate::output::{Format, render};
use crate::snapshot::Snapshot;
use crate::snapshot::prune::without_keys;
use crate::status;
use crate::tree::{TreeFilter, tree};

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// Returns the files of a bundle.
///
/// # Errors
/// If an object can't be serialized.
pub fn files(snapshot: &Snapshot) -> Result<Vec<BundleFile>> {
    let file = |name, text: String| BundleFile {
        name,
        text: without_keys(&text),
    };
    let versions = json!({
        "plugin": env!("CARGO_PKG_VERSION"),
        "server": snapshot.server_version,
        "time": snapshot.now.to_string(),
        "unreadable": snapshot.unreadable.iter()
            .map(|(kind, reason)| format!("{}: {reason}", kind.resource()))
            .collect::<Vec<_>>(),
    });
    Ok(vec![
        file("versions.json", serde_json::to_string_pretty(&versions)?),
        file("objects.json", objects(snapshot)?),
        file(
            "doctor.txt",
            render(&doctor::diagnose(snapshot), Some(Format::Wide))?,
        ),
        file(
            "status.txt",
            render(&status::status(snapshot), Some(Format::Wide))?,
        ),
        file(
            "tree.txt",
            render(&tree(snapshot, &TreeFilter::default()), None)?,
        ),
    ])
}

/// Returns all objects of a snapshot as one list of JSON, one object per line.
fn objects(snapshot: &Snapshot) -> Result<String> {
    let mut all = Vec::new();
    add(&mut all, snapshot.backends.values())?;
    add(&mut all, snapshot.logical_volumes.values())?;
    add(&mut all, snapshot.storages.values())?;
    add(&mut all, snapshot.nodes.values())?;
    add(&mut all, snapshot.persistent_volumes.values())?;
    add(&mut all, snapshot.claims.values())?;
    add(&mut all, snapshot.classes.values())?;
    add(&mut all, snapshot.pods.values())?;
    add(&mut all, &snapshot.events)?;
    add(&mut all, snapshot.csi_drivers.values())?;
    add(&mut all, &snapshot.capacities)?;
    add(&mut all, snapshot.definitions.values())?;
    add(&mut all, snapshot.deployments.values())?;
    add(&mut all, snapshot.daemon_sets.values())?;
    add(&mut all, snapshot.leases.values())?;
    add(&mut all, &snapshot.cluster_roles)?;
    add(&mut all, &snapshot.cluster_role_bindings)?;
    add(&mut all, &snapshot.roles)?;
    add(&mut all, &snapshot.role_bindings)?;
    Ok(format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n{}\n]}}\n",
        all.join(",\n")
    ))
}

/// Adds objects as JSON. Lists have no kinds in their items, so the kind is added.
fn add<'a, K>(all: &mut Vec<String>, objects: impl IntoIterator<Item = &'a K>) -> Result<()>
where
    K: Resource<DynamicType = ()> + Serialize + 'a,
{
    for object in objects {
        let mut value = serde_json::to_value(object)?;
        if let Value::Object(fields) = &mut value {
            fields.insert("apiVersion".to_owned(), json!(K::api_version(&())));
            fields.insert("kind".to_owned(), json!(K::kind(&())));
        }
        all.push(value.to_string());
    }
    Ok(())
}

/// Writes the files into a folder that does not exist yet.
///
/// # Errors
/// If the folder exists, or a file can't be written.
pub fn write(folder: &Path, files: &[BundleFile]) -> Result<()> {
    std::fs::create_dir(folder).with_context(|| format!("creating {}", folder.display()))?;
    for file in files {
        let path = folder.join(file.name);
        std::fs::write(&path, &file.text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Reads the snapshot of a bundle.
///
/// # Errors
/// If the folder is not a bundle.
pub fn read(folder: &Path) -> Result<Snapshot> {
    let text = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let versions: Value = serde_json::from_str(&text("versions.json")?)?;
    let list: Value = serde_json::from_str(&text("objects.json")?)?;
    let field = |name: &str| {
        versions
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut snapshot = Snapshot {
        now: field("time").parse().context("the time of the bundle")?,
        server_version: field("server").to_owned(),
        ..Snapshot::default()
    };
    let items = list.get("items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        snapshot
            .add(item.clone())
            .context("an object of the bundle")?;
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests;
