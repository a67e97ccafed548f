//! Records the key digests of existing volumes for the driver.
//!
//! A restart of the node empties the records. Without one, and without a backup of LVM that lists the
//! volume's tags, the driver has to look the volume up, and takes its turn among calls for any volumes
//! that pods name inline.

use host::KeyDigest;

use super::VolumeExecutor;
use crate::agent::lvm::state::LockedLvm;
use crate::agent::volumes::outcome::Outcome;
use crate::agent::volumes::spec::VolumeSpec;

impl VolumeExecutor {
    /// Records the key digest of an existing volume if its tags have it, as the driver does when it has
    /// looked the volume up.
    ///
    /// Best effort: otherwise the driver looks it up.
    pub(super) fn remember_key(&self, lvm: &LockedLvm, spec: &VolumeSpec, outcome: &Outcome) {
        let Some((uuid, _)) = &outcome.volume else {
            return;
        };
        let groups = lvm.groups();
        let group = groups.iter().find(|vg| vg.name == spec.group.as_str());
        let Some(lv) = group.and_then(|vg| vg.lv(spec.name.as_str())) else {
            return;
        };
        if lv.uuid == *uuid && KeyDigest::from_tags(&lv.tags).as_ref() == Some(&spec.key) {
            let _ = self.devices.record_key(uuid, &spec.key);
        }
    }
}
