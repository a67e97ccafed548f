//! Reports of programs that print more than the report.

use super::{Lvm, LvmStatistics, NodeReport};
use crate::error::Error;
use crate::process::{Cmd, Exec, Output, System};

/// Runs a script in place of LVM, with LVM's variables.
struct Script(&'static str);

impl Exec for Script {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        let mut script = Cmd::new("sh").args(["-c", self.0]);
        for (name, value) in cmd.variables() {
            script = script.variable(name, value);
        }
        System::current().exec(&script)
    }
}

/// As LVM does since 2.02.165: each kind of output to the descriptor that its variable names.
const NOISE: &str = r#"echo "  Retrying metadata scan." >&${LVM_OUT_FD:-1}
    echo "  WARNING: bad checksum" >&2
    echo '{"report": [{"vg": []}]}' >&${LVM_REPORT_FD:-1}"#;

#[test]
fn report_is_parsed_although_lvm_prints_messages_for_people() {
    let report = Lvm(&Script(NOISE)).report().unwrap();
    let expected = NodeReport {
        groups: Vec::new(),
        warnings: vec![
            "Retrying metadata scan.".to_owned(),
            "WARNING: bad checksum".to_owned(),
        ],
        statistics: LvmStatistics::default(),
    };
    assert_eq!(report, expected);
}

/// A group with a disk that exists twice, as LVM 2.03 reports it.
const DUPLICATE: &str = r#"case "$*" in
    *lvmconfig*) echo "allow_changes_with_duplicate_pvs=$ALLOWED" ;;
    *) echo "  WARNING: Not using device /dev/sdb for PV abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP." >&2
       cat <<'R'
{"report": [{"vg": [{"vg_name":"vg0", "vg_uuid":"abcdef-1234-5678-90AB-CDEF-GHIJ-000000", "vg_attr":"wz--n-",
 "vg_extent_size":"4194304", "vg_extent_count":"10", "vg_free_count":"10", "vg_missing_pv_count":"0",
 "vg_systemid":"", "vg_lock_type":"", "vg_seqno":"1", "max_lv":"0"}],
 "pv": [{"pv_name":"/dev/sda", "pv_uuid":"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP", "pv_attr":"a--",
 "pv_pe_count":"10", "pv_pe_alloc_count":"0"}], "lv": [], "pvseg": []}]}
R
    ;; esac"#;

/// Runs a script in place of LVM with LVM's arguments, and a variable with this value.
struct Allowing(&'static str);

impl Exec for Allowing {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        let script = Cmd::new("sh")
            .args(["-c", DUPLICATE, "lvm"])
            .args(cmd.arguments())
            .variable("ALLOWED", self.0);
        System::current().exec(&script)
    }
}

#[test]
fn group_with_duplicate_disk_is_marked_unless_lvm_may_change_it() {
    for (allowed, is_marked) in [("0", true), ("1", false)] {
        let report = Lvm(&Allowing(allowed)).report().unwrap();
        let fault = &report.groups.first().unwrap().change_fault;
        assert_eq!(fault.is_some(), is_marked, "{fault:?}");
        assert_eq!(report.warnings.len(), 1);
    }
}

#[test]
fn unusable_report_is_rejected_with_standard_error() {
    let script = "echo '{'; echo '  WARNING: bad checksum' >&2";
    let error = Lvm(&Script(script)).report().unwrap_err().to_string();
    assert!(error.contains("EOF while parsing"), "{error}");
    assert!(
        error.ends_with("it reported: WARNING: bad checksum"),
        "{error}"
    );
}

/// Has a RAID1 with checksums, `r1`.
const KINDS: &[u8] = include_bytes!("../../fixtures/lvm2-2.03.16-kinds.json");

/// Prints that report, and the integrity mismatches of `r1`, if `count` is given.
struct Mismatches(Option<u32>);

impl Exec for Mismatches {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        let verb = cmd.arguments().first().unwrap();
        let stdout = match (verb.as_str(), self.0) {
            ("fullreport", _) => KINDS.to_vec(),
            ("lvs", Some(count)) => format!(
                r#"{{"report":[{{"lv":[
                {{"lv_uuid":"e7uFpj-yTwV-mfRr-b6Q0-9k78-4kho-sVwBDf","integritymismatches":""}},
                {{"lv_uuid":"70G5DS-OxKB-U0bP-IhUc-40x5-sWx5-8QxgVM","integritymismatches":"{count}"}}]}}]}}"#
            )
            .into_bytes(),
            _ => Vec::new(),
        };
        Ok(Output {
            code: Some(if stdout.is_empty() { 3 } else { 0 }),
            stdout,
            stderr: Vec::new(),
        })
    }
}

#[test]
fn integrity_mismatches_are_read_if_a_volume_has_checksums() {
    for (count, expected, warnings) in [(Some(0), 0, 0), (Some(7), 7, 0), (None, 0, 1)] {
        let report = Lvm(&Mismatches(count)).report().unwrap();
        let vg0 = report.groups.iter().find(|vg| vg.name == "vg0").unwrap();
        let raid = vg0.lv("r1").unwrap();
        assert!(raid.integrity);
        assert_eq!(raid.integrity_mismatches, expected, "{count:?}");
        assert_eq!(vg0.lv("pvc-a").unwrap().integrity_mismatches, 0);
        assert_eq!(report.warnings.len(), warnings, "{:?}", report.warnings);
    }
}
