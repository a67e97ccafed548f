//! Faults of a simulated node's LVM that the simulation itself doesn't have, written into LVM's
//! reports: a missing disk, a thin pool that fills, reports that fail or hang.

use std::sync::Mutex;

use harness::simulated::SimulatedNode;
use host::{Cmd, Error, Exec, Output};
use serde_json::{Value, json};

/// The state that LVM reports in addition.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Usage of the thin pool `pool` in percent; without one, there is no pool.
    pool_used: Option<u32>,
    is_disk_missing: bool,
    is_report_failing: bool,
    is_report_hanging: bool,
}

/// The LVM of a simulated node, with faults.
pub(crate) struct FaultyLvm {
    node: SimulatedNode,
    faults: Mutex<Faults>,
}

impl FaultyLvm {
    pub(crate) fn new(node: SimulatedNode) -> Self {
        Self {
            node,
            faults: Mutex::default(),
        }
    }

    /// Lets LVM report a thin pool whose data are used to this percentage.
    pub(crate) fn fill_pool(&self, percent: u32) {
        self.change(|faults| faults.pool_used = Some(percent));
    }

    /// Removes the disk of the volume group.
    pub(crate) fn remove_disk(&self) {
        self.change(|faults| faults.is_disk_missing = true);
    }

    /// Lets all reports fail.
    pub(crate) fn break_reports(&self) {
        self.change(|faults| faults.is_report_failing = true);
    }

    /// Lets all reports hang, until the end of the test.
    pub(crate) fn hang_reports(&self) {
        self.change(|faults| faults.is_report_hanging = true);
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap());
        // A changed volume group makes the agent request a report at once.
        self.node.change(|state| state.groups[0].max_lv += 1000);
    }
}

impl Exec for FaultyLvm {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        let output = self.node.exec(cmd)?;
        let faults = *self.faults.lock().unwrap();
        if cmd
            .arguments()
            .first()
            .is_none_or(|verb| verb != "fullreport")
        {
            return Ok(output);
        }
        if faults.is_report_hanging {
            loop {
                std::thread::park();
            }
        }
        if faults.is_report_failing {
            return Err(Error::failed("LVM does not respond"));
        }
        let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let group = &mut report["report"][0];
        if let Some(percent) = faults.pool_used {
            add_pool(group, percent);
        }
        if faults.is_disk_missing {
            mark_as_missing(group);
        }
        let stdout = report.to_string().into_bytes();
        Ok(Output { stdout, ..output })
    }
}

/// Adds a thin pool of 40 MiB without volumes. It takes free extents.
fn add_pool(group: &mut Value, percent: u32) {
    const EXTENTS: u64 = 11;
    let number = |value: &Value| -> u64 { value.as_str().unwrap().parse().unwrap() };
    let disk = group["pv"][0]["pv_uuid"].clone();
    let free = number(&group["vg"][0]["vg_free_count"]) - EXTENTS;
    group["vg"][0]["vg_free_count"] = json!(free.to_string());
    let allocated = number(&group["pv"][0]["pv_pe_alloc_count"]) + EXTENTS;
    group["pv"][0]["pv_pe_alloc_count"] = json!(allocated.to_string());
    let volumes = group["lv"].as_array_mut().unwrap();
    volumes.push(json!({
        "lv_name": "pool", "lv_uuid": "poolid-4444-4444-4444-4444-4444-666666", "lv_attr": "twi-aotz--",
        "lv_size": (40 << 20).to_string(), "lv_tags": "", "pool_lv": "", "data_percent": format!("{percent}.00"),
        "metadata_percent": "11.13", "lv_metadata_size": (4 << 20).to_string(), "lv_layout": "thin,pool",
        "lv_permissions": "writeable", "lv_health_status": "", "lv_when_full": "queue", "snap_percent": "",
        "raid_sync_action": "", "sync_percent": "", "raid_mismatch_count": "",
    }));
    let segments = group["pvseg"].as_array_mut().unwrap();
    for segment in segments
        .iter_mut()
        .filter(|segment| segment["lv_name"] == "")
    {
        segment["pvseg_size"] = json!(free.to_string());
    }
    for (name, extents) in [("[pool_tdata]", "10"), ("[pool_tmeta]", "1")] {
        segments.push(json!({"pv_uuid": disk, "pvseg_size": extents, "lv_name": name}));
    }
}

/// Reports the disk of a volume group as missing, and all logical volumes as partial.
fn mark_as_missing(group: &mut Value) {
    group["vg"][0]["vg_attr"] = json!("wz-pn-");
    group["vg"][0]["vg_missing_pv_count"] = json!("1");
    group["pv"][0]["pv_name"] = json!("[unknown]");
    group["pv"][0]["pv_attr"] = json!("a-m");
    for volume in group["lv"].as_array_mut().unwrap() {
        let attributes = volume["lv_attr"].as_str().unwrap();
        volume["lv_attr"] = json!(format!("{}p{}", &attributes[..8], &attributes[9..]));
        volume["lv_health_status"] = json!("partial");
    }
}
