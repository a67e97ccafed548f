//! Judges a cached volume: its cache can be lost or fail while its own disks work. Pure.

use crds::cache::CacheMode;
use crds::condition::reason;
use host::lvm::{Lv, LvHealth};

use super::VolumeHealth;
use crate::agent::condition::ReportedError;
use crate::agent::volumes::spec::VolumeSpec;

/// Judges a cached volume whose disks are all there; `None` if its cache works.
pub(super) fn judge(spec: &VolumeSpec, lv: &Lv) -> Option<VolumeHealth> {
    let path = spec.path();
    let node = &spec.node;
    match lv.health {
        LvHealth::Failed => {
            let message = format!(
                "logical volume {path} on {node} can't be used: its cache has failed; `dmesg` on the \
                 node shows the cause; {}",
                remedy(spec)
            );
            Some(VolumeHealth::Failed(failed(message)))
        }
        LvHealth::CacheReadOnly => {
            let message = format!(
                "logical volume {path} on {node} works, but the metadata of its cache accept no \
                 changes; stop its pods, then `lvconvert --uncache {path}` writes the cache back and \
                 removes it"
            );
            Some(VolumeHealth::Impaired(failed(message)))
        }
        LvHealth::Good
        | LvHealth::Partial
        | LvHealth::ImageFailed
        | LvHealth::ReadOnly
        | LvHealth::ReadOnlyDevice => None,
    }
}

/// Judges a volume whose cache is on missing disks, and its own extents are not.
pub(super) fn judge_lost(spec: &VolumeSpec, disks: &str) -> VolumeHealth {
    let message = format!(
        "logical volume {} on {} can't be used: its cache is on {disks}, which volume group {} lacks; \
         reconnect the disk; if it is lost, {}",
        spec.path(),
        spec.node,
        spec.group,
        remedy(spec)
    );
    VolumeHealth::Failed(failed(message))
}

/// Returns how to use a volume without its cache, and what that costs.
fn remedy(spec: &VolumeSpec) -> String {
    let path = spec.path();
    let command = format!("`lvconvert --uncache --force {path}` removes the cache");
    match spec.cache.as_ref().map(|cache| cache.mode) {
        Some(CacheMode::WriteThrough) => {
            format!("{command}: all data are on the volume's own disks (cache mode WriteThrough)")
        }
        Some(CacheMode::WriteBack) | None => format!(
            "{command}, and with it the writes that are only there (cache mode WriteBack): check the \
             file system then, or restore the data from a backup"
        ),
    }
}

fn failed(message: String) -> ReportedError {
    ReportedError::new(reason::CACHE_FAILED, message)
}
