//! Checks the series of a role: their names, and that docs/metrics.md has all of them and no other.
//! `make generate` writes the tables there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::series::Gauge;
use super::{Format, Metrics};

/// What docs/metrics.md has about a series.
#[derive(Debug, Default)]
struct DocumentedSeries {
    type_: String,
    help: String,
    /// Names of the labels, those of the registry excepted; `None` before the first sample.
    labels: Option<Vec<String>>,
}

/// Compares the series of a role with its table in docs/metrics.md.
///
/// Each series must have a sample, since only samples have labels.
pub(crate) fn check_documentation(role: &str, metrics: &Metrics) {
    let text = metrics.text(Format::Prometheus).unwrap();
    let series = parse(&text);
    let mut rows = String::new();
    for (name, series) in &series {
        check_name(name, &series.type_);
        let labels = series.labels.as_ref();
        let labels = labels.unwrap_or_else(|| panic!("{name} has no sample in this test"));
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let DocumentedSeries { type_, help, .. } = series;
        let labels = labels.join(", ");
        writeln!(rows, "| `{name}` | {type_} | {labels} | {help} |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let head = format!("## Series of the {role}\n");
    let (before, section) = page.split_once(&head).expect("the section exists");
    let delimiter = "|---|---|---|---|\n";
    let (intro, table) = section
        .split_once(delimiter)
        .expect("the section has a table");
    let lines = table.split_inclusive('\n');
    let present = lines.take_while(|line| line.starts_with('|'));
    let end = present.map(str::len).sum();
    let (found, after) = table.split_at(end);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(
            &path,
            format!("{before}{head}{intro}{delimiter}{rows}{after}"),
        )
        .unwrap();
    } else {
        assert_eq!(
            found, rows,
            "docs/metrics.md is out of date: run `make generate`"
        );
    }
}

/// Parses the older text format; panics where two samples have the same labels.
fn parse(text: &str) -> BTreeMap<String, DocumentedSeries> {
    let mut all: BTreeMap<String, DocumentedSeries> = BTreeMap::new();
    let mut samples = BTreeSet::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# HELP ") {
            let (name, help) = comment.split_once(' ').unwrap();
            assert!(help.ends_with('.') && !help.ends_with(".."), "{line}");
            all.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(comment) = line.strip_prefix("# TYPE ") {
            let (name, type_) = comment.split_once(' ').unwrap();
            all.get_mut(name).expect("help").type_ = type_.to_owned();
        } else {
            let (sample, _) = line.rsplit_once(' ').unwrap();
            assert!(samples.insert(sample), "repeated: {line}");
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let bases = ["_bucket", "_count", "_sum"].map(|suffix| name.strip_suffix(suffix));
            let base = bases
                .into_iter()
                .flatten()
                .find(|base| all.contains_key(*base));
            let series = all.get_mut(base.unwrap_or(name)).expect(name);
            series.labels = Some(label_names(labels.trim_end_matches('}')));
        }
    }
    all
}

/// Returns the names of labels, without those of the registry and of the format.
fn label_names(labels: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (position, part) in labels.split('"').enumerate() {
        // Values, at odd positions, have no quotes in these tests.
        if position % 2 == 0 && part.contains('=') {
            let name = part.trim_start_matches(',').trim_end_matches('=');
            names.push(name.to_owned());
        }
    }
    let is_agents = names.first().is_some_and(|first| first == "node")
        && labels.starts_with("node=\"agent-node\"");
    names
        .into_iter()
        .filter(|name| name != "le" && !(is_agents && name == "node"))
        .collect()
}

/// Checks what `promtool check metrics` checks, and that units are base units.
fn check_name(name: &str, type_: &str) {
    assert!(name.starts_with("flexlvm_"), "{name}");
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    assert!(name.bytes().all(is_plain), "{name}");
    assert_eq!(name.ends_with("_total"), type_ == "counter", "{name}");
    for suffix in ["_count", "_sum", "_bucket"] {
        assert!(!name.ends_with(suffix), "{name}");
    }
    for word in name.split('_') {
        let others = [
            "percent",
            "milliseconds",
            "kilobytes",
            "megabytes",
            "mib",
            "kib",
            "gib",
        ];
        assert!(!others.contains(&word), "{name}");
        assert!(!["gauge", "counter", "histogram"].contains(&word), "{name}");
    }
}

#[test]
fn label_values_are_escaped() {
    const DISK: Gauge<1> = Gauge::new("disk", "Disk.", ["device"]);
    let metrics = Metrics::of_controller();
    metrics.compute(|scrape| scrape.gauge(&DISK, [(["a\\x20\"\n"], 0.25.into())]));
    let text = metrics.text(Format::OpenMetrics).unwrap();
    let expected =
        "# HELP disk Disk.\n# TYPE disk gauge\ndisk{device=\"a\\\\x20\\\"\\n\"} 0.25\n# EOF\n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn text_is_computed_once_a_second() {
    const CALLS: Gauge<0> = Gauge::new("calls", "Calls.", []);
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let metrics = Metrics::of_controller();
    metrics.compute(move |scrape| {
        scrape.value(
            &CALLS,
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        )
    });
    let first = metrics.text(Format::OpenMetrics).unwrap();
    assert!(first.contains("\ncalls 0\n"), "{first}");
    assert_eq!(metrics.clone().text(Format::OpenMetrics).unwrap(), first);
}
