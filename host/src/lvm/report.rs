//! LVM's JSON report as values. Called by [`Lvm`](super::Lvm).
//! Pure. Columns that are not known are ignored; one that is missing or malformed spoils the whole answer: half an
//! answer could make a volume look absent.

use serde::Deserialize;

use crate::name::LvUuid;
use crate::size::{Bytes, Extents};

/// A volume group and its logical volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vg {
    /// The name: not always one that we would accept for our own use.
    pub name: String,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// The size of one extent.
    pub extent_size: Bytes,
    /// How many extents there are.
    pub extents: Extents,
    /// How many of them no logical volume has.
    pub free: Extents,
    /// Why nothing can be made or changed in it; `None` when all is well.
    pub fault: Option<String>,
    /// Its logical volumes by name, without those that LVM keeps for itself.
    pub lvs: Vec<Lv>,
    /// The host that it belongs to, by its system ID; empty when it belongs to none.
    pub system_id: String,
}

/// A logical volume.
#[derive(Clone, Debug, Eq)]
pub struct Lv {
    /// The name: not always one that we would accept for our own use.
    pub name: String,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// Its size.
    pub size: Bytes,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether its device is there.
    pub active: bool,
    /// Whether somebody has its device open. What LVM can't tell counts as open.
    pub open: bool,
    /// Whether it is just extents: no origin of snapshots, no snapshot, no pool, nothing being moved.
    pub plain: bool,
    /// When it was made, in seconds since 1970, by this host's clock; 0 when LVM does not know.
    pub made: u64,
}

impl PartialEq for Lv {
    /// Two reports of the same volume are equal, though whoever made it may not know the second that LVM wrote down.
    fn eq(&self, other: &Self) -> bool {
        let Self { name, uuid, size, tags, active, open, plain, made: _ } = self;
        (name, uuid, size, tags) == (&other.name, &other.uuid, &other.size, &other.tags)
            && (*active, *open, *plain) == (other.active, other.open, other.plain)
    }
}

impl Lv {
    /// Whether it carries this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

impl Vg {
    /// The logical volume of this name.
    #[must_use]
    pub fn lv(&self, name: &str) -> Option<&Lv> {
        self.lvs.iter().find(|lv| lv.name == name)
    }

    /// Adds a logical volume where a report would have it.
    pub fn insert(&mut self, lv: Lv) {
        let at = self.lvs.partition_point(|other| other.name < lv.name);
        self.lvs.insert(at, lv);
    }
}

#[derive(Deserialize)]
struct Answer {
    report: Vec<Part>,
}

/// One volume group; or the physical volumes that belong to none, then without `vg`.
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    vg: Vec<VgRow>,
    #[serde(default)]
    lv: Vec<LvRow>,
}

#[expect(clippy::struct_field_names, reason = "these are LVM's names of its columns")]
#[derive(Deserialize)]
struct VgRow {
    vg_name: String,
    vg_uuid: String,
    vg_attr: String,
    vg_extent_size: String,
    vg_extent_count: String,
    vg_free_count: String,
    vg_missing_pv_count: String,
    vg_systemid: String,
    vg_lock_type: String,
}

#[expect(clippy::struct_field_names, reason = "these are LVM's names of its columns")]
#[derive(Deserialize)]
struct LvRow {
    lv_name: String,
    lv_uuid: String,
    lv_attr: String,
    lv_size: String,
    lv_tags: String,
    lv_time: String,
}

/// Reads a full report; an error says what was wrong with it.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Vg>, String> {
    let answer: Answer = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut vgs = Vec::with_capacity(answer.report.len());
    for part in answer.report {
        let mut rows = part.vg.into_iter();
        match (rows.next(), rows.next()) {
            (Some(row), None) => vgs.push(row.read(part.lv)?),
            (None, _) if part.lv.is_empty() => {}
            _ => return Err("a part of the report is not about one volume group".to_owned()),
        }
    }
    mark_namesakes(&mut vgs);
    Ok(vgs)
}

/// Reads the one logical volume that `lvs` was asked for.
pub(super) fn parse_volume(text: &[u8]) -> Result<Lv, String> {
    let answer: Answer = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut rows = answer.report.into_iter().flat_map(|part| part.lv);
    match (rows.next(), rows.next()) {
        (Some(row), None) => row.read(),
        _ => Err("it is not about one logical volume".to_owned()),
    }
}

/// Reads the uuids that `vgs --options vg_uuid` lists.
pub(super) fn parse_uuids(text: &[u8]) -> Result<Vec<LvUuid>, String> {
    #[derive(Deserialize)]
    struct Row {
        vg_uuid: String,
    }
    #[derive(Deserialize)]
    struct Part {
        vg: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Answer {
        report: Vec<Part>,
    }
    let answer: Answer = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let rows = answer.report.into_iter().flat_map(|part| part.vg);
    rows.map(|row| uuid(row.vg_uuid)).collect()
}

/// Marks what belongs to another host: it has a system ID, and is not among those that this host may use.
pub(super) fn mark_foreign(vgs: &mut [Vg], usable: &[LvUuid]) {
    for vg in vgs.iter_mut().filter(|vg| !vg.system_id.is_empty() && !usable.contains(&vg.uuid)) {
        vg.fault = Some(format!(
            "it belongs to another host, with system ID {:?}; vgexport there and vgimport here bring it over",
            vg.system_id
        ));
    }
}

/// By name, LVM refuses to touch any of two groups that share one.
fn mark_namesakes(vgs: &mut [Vg]) {
    let names: Vec<String> = vgs.iter().map(|vg| vg.name.clone()).collect();
    for vg in vgs {
        if names.iter().filter(|name| **name == vg.name).count() > 1 {
            vg.fault = Some("two volume groups have this name; vgrename can rename one by its uuid".to_owned());
        }
    }
}

impl VgRow {
    fn read(self, lvs: Vec<LvRow>) -> Result<Vg, String> {
        let missing = number(&self.vg_missing_pv_count)?;
        let fault = self.fault(missing)?;
        let mut lvs = lvs.into_iter().map(LvRow::read).collect::<Result<Vec<_>, _>>()?;
        lvs.sort_by(|a, b| a.name.cmp(&b.name));
        let vg = Vg {
            uuid: uuid(self.vg_uuid)?,
            extent_size: Bytes(number(&self.vg_extent_size)?),
            extents: Extents(number(&self.vg_extent_count)?),
            free: Extents(number(&self.vg_free_count)?),
            fault,
            lvs,
            system_id: self.vg_systemid,
            name: self.vg_name,
        };
        if vg.name.is_empty() || vg.extent_size.0 == 0 || vg.free > vg.extents {
            return Err(format!("volume group {:?} with impossible numbers", vg.name));
        }
        Ok(vg)
    }

    /// What `vg_attr` says, see vgs(8): permissions, resizeable, exported, partial, allocation, clustered or shared.
    fn fault(&self, missing: u64) -> Result<Option<String>, String> {
        let attr: Vec<char> = self.vg_attr.chars().collect();
        let [permissions, resizeable, exported, partial, _, shared, ..] = attr[..] else {
            return Err(format!("vg_attr {:?}", self.vg_attr));
        };
        let fault = if exported == 'x' {
            "it is exported; vgimport brings it back".to_owned()
        } else if missing > 0 || partial == 'p' {
            format!(
                "{missing} of its disks are missing; pvs shows which, and vgextend --restoremissing takes them back"
            )
        } else if !self.vg_lock_type.is_empty() && self.vg_lock_type != "none" {
            let kind = &self.vg_lock_type;
            format!("it is shared between hosts (lock type {kind}); vgchange --lockstart makes it usable here")
        } else if shared != '-' {
            "it is shared between hosts".to_owned()
        } else if permissions != 'w' {
            "it is read-only".to_owned()
        } else if resizeable != 'z' {
            "it is not resizeable; vgchange --resizeable y makes it so".to_owned()
        } else {
            return Ok(None);
        };
        Ok(Some(fault))
    }
}

impl LvRow {
    /// `lv_attr`, see lvs(8): type, permissions, allocation, fixed minor, state, open, and more.
    fn read(self) -> Result<Lv, String> {
        let attr: Vec<char> = self.lv_attr.chars().collect();
        let [kind, _, _, _, state, open, ..] = attr[..] else {
            return Err(format!("lv_attr {:?}", self.lv_attr));
        };
        Ok(Lv {
            uuid: uuid(self.lv_uuid)?,
            size: Bytes(number(&self.lv_size)?),
            tags: self.lv_tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            active: state != '-',
            open: open != '-',
            plain: kind == '-',
            made: if self.lv_time.is_empty() { 0 } else { number(&self.lv_time)? },
            name: self.lv_name,
        })
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn uuid(text: String) -> Result<LvUuid, String> {
    LvUuid::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
