//! The measurements of all loads, as a table and as figures.

use std::time::Duration;

use crate::environment::Load;
use crate::flexlvm::Outcome;

/// A name and its value.
pub(crate) type Figure = (&'static str, f64);

/// All rounds of one load.
pub(crate) struct Tally {
    pub(crate) load: Load,
    pub(crate) bare: Vec<Duration>,
    pub(crate) ours: Vec<Outcome>,
}

/// Medians of one load; counters are per claim.
struct Row {
    bare: f64,
    ours: f64,
    ratio: f64,
    writes: f64,
    events: f64,
    others: f64,
    cpu: f64,
    peak: f64,
}

impl Tally {
    pub(crate) fn new(load: Load) -> Self {
        Self {
            load,
            bare: Vec::new(),
            ours: Vec::new(),
        }
    }

    fn row(&self) -> Row {
        let claims = count(self.load.claims);
        let bare: Vec<f64> = self.bare.iter().map(Duration::as_secs_f64).collect();
        let ours: Vec<f64> = self.ours.iter().map(|one| one.time.as_secs_f64()).collect();
        // Ratio per round: a slow phase of the machine usually affects both subjects.
        let ratios = bare
            .iter()
            .zip(&ours)
            .map(|(bare, ours)| bare / ours)
            .collect();
        let over = |of: &dyn Fn(&Outcome) -> f64| median(self.ours.iter().map(of).collect());
        let per_claim = |is: fn(&Outcome) -> usize| over(&|one| count(is(one)) / claims);
        Row {
            ratio: median(ratios),
            bare: median(bare),
            ours: median(ours),
            writes: per_claim(Outcome::writes),
            events: per_claim(Outcome::events),
            others: per_claim(|one| one.requests.len() - one.writes() - one.events()),
            cpu: over(&|one| one.cpu.as_secs_f64() * 1000.0 / claims),
            peak: over(&|one| f64::from(one.peak_kib) / 1024.0),
        }
    }
}

impl Outcome {
    /// Accepted writes to the claims' own objects: LogicalVolume, its status, PersistentVolume.
    fn writes(&self) -> usize {
        self.requests
            .iter()
            .filter(|one| one.is_write() && one.name.starts_with("pvc-"))
            .count()
    }

    fn events(&self) -> usize {
        self.requests
            .iter()
            .filter(|one| one.is_write() && one.resource == "events")
            .count()
    }
}

/// Prints the table and returns the figures.
pub(crate) fn report(tallies: &[Tally]) -> Vec<Figure> {
    let rounds = tallies[0].bare.len();
    println!(
        "medians of {rounds} rounds; a claim's share of the time, in milliseconds, and of the requests"
    );
    println!(
        "{:>6} {:>5} {:>9} {:>9} {:>6} {:>10} {:>7} {:>7} {:>7} {:>9} {:>9}",
        "claims",
        "nodes",
        "bare",
        "FlexLVM",
        "ratio",
        "claims/s",
        "writes",
        "Events",
        "others",
        "CPU ms",
        "peak MiB"
    );
    let rows: Vec<Row> = tallies.iter().map(Tally::row).collect();
    for (tally, row) in tallies.iter().zip(&rows) {
        let Load { claims, nodes } = tally.load;
        println!(
            "{claims:6} {nodes:5} {:9.2} {:9.2} {:6.2} {:10.0} {:7.2} {:7.2} {:7.2} {:9.2} {:9.1}",
            row.bare * 1000.0 / count(claims),
            row.ours * 1000.0 / count(claims),
            row.ratio,
            count(claims) / row.ours,
            row.writes,
            row.events,
            row.others,
            row.cpu,
            row.peak
        );
    }
    let most = |of: fn(&Row) -> f64| rows.iter().map(of).fold(0.0, f64::max);
    let worst = rows
        .iter()
        .map(|row| row.ratio)
        .fold(f64::INFINITY, f64::min);
    let load = tallies[tallies.len() - 1].load;
    let largest = &rows[rows.len() - 1];
    vec![
        ("claims_per_s", count(load.claims) / largest.ours),
        ("vs_bare_client", worst),
        ("writes_per_claim", most(|row| row.writes)),
        ("controller_peak_mib", most(|row| row.peak)),
    ]
}

/// Returns the median; of two in the middle, the lower one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}
