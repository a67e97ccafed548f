//! Reports of programs that print more than the report.

use super::{Lvm, NodeReport};
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
    };
    assert_eq!(report, expected);
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
