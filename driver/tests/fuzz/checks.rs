//! Invariants of every call for any input, independent of the driver's own checks.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use driver::{Note, Reply, log};
use host::Cmd;
use serde_json::Value;

use super::words::{CALLS, HOSTILE, SECRET};

/// Maximum length of a reply in bytes, since it becomes an Event.
const LONGEST: usize = 16 << 10;

/// Fixed arguments of the driver's commands.
const CONSTANTS: &[&str] = &[
    "lvchange",
    "lvs",
    "vgs",
    "fullreport",
    "--config",
    "report/list_item_separator=\",\" report/prefixes=0 \
     report/compact_output=0 report/compact_output_cols=\"\" report/mark_hidden_devices=1 \
     report/binary_values_as_numeric=0 report/two_word_unknown_device=0 \
     report/vgs_sort=\"vg_name\" report/lvs_sort=\"vg_name,lv_name\" report/pvs_sort=\"pv_name\" \
     report/vgs_sort_full=\"vg_name\" report/lvs_sort_full=\"vg_name,lv_name\" \
     report/pvs_sort_full=\"pv_name\" report/pvsegs_sort_full=\"pv_uuid,pvseg_start\" \
     report/segs_sort_full=\"lv_uuid,seg_start\" log/prefix=\"  \" log/command_names=0 \
     log/report_command_log=0",
    "--configreport",
    "vg",
    "lv",
    "pv",
    "pvseg",
    "seg",
    "pv_name,pv_uuid,pv_attr,pv_pe_count,pv_pe_alloc_count",
    "pv_uuid,pvseg_size,lv_name",
    "segtype",
    "--foreign",
    "--shared",
    "--all",
    "--activate",
    "y",
    "n",
    "--select",
    "log/report_command_log=0 backup/retain_days=0 backup/retain_min=100",
    "--addtag",
    "--deltag",
    "--reportformat",
    "json",
    "--units",
    "b",
    "--nosuffix",
    "--options",
    "--noheadings",
    "--yes",
    "-q",
    "-F",
    "-E",
    "-f",
    "-K",
    "-d",
    "-p",
    "-o",
    "export",
    "--no-act",
    "--parsable",
    "-m",
    "0",
    "flexlvm.dev/static",
    "flexlvm.dev/format",
];

const PROGRAMS: &[&str] = &[
    "lvm",
    "blkid",
    "wipefs",
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs",
    "resize2fs",
    "xfs_growfs",
    "btrfs",
    "e2fsck",
];

/// Checks a reply.
#[expect(clippy::too_many_lines, reason = "one rule after the other")]
pub(crate) fn reply(args: &[OsString], reply: &Reply) -> Result<(), String> {
    let text = reply.to_json();
    let violation = |why: &str| Err(format!("{why}: {text}"));
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&text) else {
        return violation("not one JSON object");
    };
    let verb = args.first().map(|verb| verb.as_bytes()).unwrap_or_default();
    let known = CALLS.iter().any(|call| call.as_bytes() == verb);
    let status = object
        .get("status")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let line = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.contains(char::is_control))
    };
    if text.len() > LONGEST || text.contains('\n') {
        return violation("too long, or several lines");
    }
    if !["Success", "Failure", "Not supported"].contains(&status) {
        return violation("no status that the kubelet knows");
    }
    if (status == "Failure") != object.contains_key("message")
        || (status == "Failure" && !line("message"))
    {
        return violation("only a failure has a message, of one line");
    }
    if object.contains_key("capabilities") != (verb == b"init") {
        return violation("only init has capabilities");
    }
    if object
        .get("attached")
        .is_some_and(|value| !value.is_boolean())
    {
        return violation("attached is not a bool");
    }
    if object
        .get("device")
        .is_some_and(|device| !device.as_str().is_some_and(is_device))
    {
        return violation("a device outside /dev");
    }
    let keys = [
        "status",
        "message",
        "capabilities",
        "attached",
        "device",
        "volumeName",
    ];
    if object.keys().any(|key| !keys.contains(&key.as_str())) {
        return violation("a key that the kubelet does not know");
    }
    if text.contains(SECRET) {
        return violation("a secret");
    }
    if status == "Not supported"
        && ["init", "mount", "unmount", "expandfs"]
            .iter()
            .any(|must| must.as_bytes() == verb)
    {
        return violation("the kubelet would never repeat the call");
    }
    if !known && !verb.is_empty() && status != "Not supported" && !args.is_empty() {
        return violation("a call-out that does not exist");
    }
    Ok(())
}

/// Checks the log line.
pub(crate) fn line(args: &[OsString], reply: &Reply, note: Option<&Note>) -> Result<(), String> {
    let line = log::Line::new(args, reply, note, std::time::Duration::ZERO).to_string();
    if line.contains(SECRET) || line.contains(char::is_control) || line.len() > LONGEST {
        Err(format!("invalid log line: {line:?}"))
    } else {
        Ok(())
    }
}

/// Checks a command line. `mutated`: bytes of the input were changed at random.
pub(crate) fn command(cmd: &Cmd, mutated: bool) -> Result<(), String> {
    let unexpected = |word: &str| Err(format!("{word:?} must not occur in {:?}", cmd.line()));
    if !PROGRAMS.contains(&cmd.program()) {
        return unexpected(cmd.program());
    }
    for word in cmd.arguments() {
        if word.contains(SECRET)
            || (!mutated && word.contains(HOSTILE))
            || !is_expected(cmd.program(), word)
        {
            return unexpected(word);
        }
    }
    Ok(())
}

fn is_expected(program: &str, word: &str) -> bool {
    CONSTANTS.contains(&word)
        || is_device(word)
        || if program == "lvm" {
            is_for_lvm(word)
        } else {
            is_plain_option(word)
        }
}

fn is_for_lvm(word: &str) -> bool {
    let is_column = |column: &str| {
        let others = [
            "data_percent",
            "dev_size",
            "integritymismatches",
            "max_lv",
            "max_pv",
            "metadata_percent",
            "pool_lv",
            "raid_mismatch_count",
            "raid_sync_action",
            "snap_count",
            "snap_percent",
            "sync_percent",
        ];
        ["lv_", "vg_", "pv_"]
            .iter()
            .any(|of| column.starts_with(of))
            || others.contains(&column)
    };
    let columns = word
        .split(',')
        .all(|column| is_column(column) && is_name(column));
    let path = word
        .split_once('/')
        .is_some_and(|(group, volume)| is_name(group) && is_name(volume));
    columns || path || is_selection(word)
}

/// Returns true for `lv_uuid="…"`, alone or with further terms: no value can end the quotes.
fn is_selection(word: &str) -> bool {
    word.split(" && ").all(|term| {
        let value = term
            .strip_prefix("lv_uuid=\"")
            .or_else(|| term.strip_prefix("lv_tags=\""));
        value
            .and_then(|value| value.strip_suffix('"'))
            .is_some_and(|value| value.split('/').all(is_name))
    })
}

fn is_name(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with('-')
        && word != "."
        && word != ".."
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+_.-".contains(&b))
}

fn is_device(word: &str) -> bool {
    word.strip_prefix("/dev/")
        .is_some_and(|rest| rest.split('/').all(is_name))
}

/// Returns true for an option's letter, or a value that can't name a file, a device or another
/// option.
fn is_plain_option(word: &str) -> bool {
    let letter = word.len() == 2 && word.starts_with('-');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.,=^:-".contains(&b);
    letter || (!word.is_empty() && !word.starts_with('-') && word.bytes().all(plain))
}

/// Checks the options for mount(2).
pub(crate) fn mount_data(data: &str) -> Result<(), String> {
    let plain = data
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_,=:.-".contains(&b));
    if plain && !data.contains(HOSTILE) {
        Ok(())
    } else {
        Err(format!("mount options {data:?}"))
    }
}
