//! Counts and times LVM's commands, for metrics, and records those that run.

use std::sync::Arc;
use std::time::Instant;

use host::process::Session;
use host::{Cmd, Error, Exec, Output};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::activity::LvmActivity;
use crate::metrics::Metrics;

/// Upper bounds of the duration of a command, in seconds: `lvs` takes a fifth, a removal with
/// discards minutes.
const DURATIONS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];

/// The commands that are counted by name; all others count as `other`.
const COMMANDS: [&str; 12] = [
    "fullreport",
    "lvchange",
    "lvconvert",
    "lvcreate",
    "lvextend",
    "lvremove",
    "lvs",
    "pvcreate",
    "pvs",
    "version",
    "vgcreate",
    "vgs",
];

/// The label with a command's name.
type CommandLabel = [(&'static str, &'static str); 1];

/// The labels with a command's name and its result.
type ResultLabels = [(&'static str, &'static str); 2];

/// Runs programs, and measures those of LVM, in a process of their own or in a reused shell.
#[derive(Clone)]
pub struct MeasuredExec {
    programs: Arc<dyn Exec>,
    activity: LvmActivity,
    durations: Family<CommandLabel, Histogram, fn() -> Histogram>,
    results: Family<ResultLabels, Counter>,
}

impl MeasuredExec {
    /// Creates a runner that delegates to `programs`, and records LVM's commands in `activity`.
    #[must_use]
    pub fn new(programs: Arc<dyn Exec>, activity: LvmActivity) -> Self {
        Self {
            programs,
            activity,
            durations: Family::new_with_constructor(new_histogram),
            results: Family::default(),
        }
    }

    /// Registers the metrics of the commands.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register(
                "flexlvm_lvm_command_duration_seconds",
                "Duration of a command of LVM",
                self.durations.clone(),
            );
            registry.register(
                "flexlvm_lvm_commands",
                "Commands of LVM by result: success, failure or timeout",
                self.results.clone(),
            );
        });
    }
}

impl Exec for MeasuredExec {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        if cmd.program() != "lvm" {
            return self.programs.exec(cmd);
        }
        let start = Instant::now();
        let done = self.activity.track(cmd, || self.programs.exec(cmd));
        let command = ("command", name(cmd));
        self.durations
            .get_or_create(&[command])
            .observe(start.elapsed().as_secs_f64());
        self.results
            .get_or_create(&[command, ("result", result(&done))])
            .inc();
        done
    }

    fn spawn_session(
        &self,
        cmd: &Cmd,
        variables: &'static [(&str, &str)],
    ) -> Result<Session, Error> {
        self.programs.spawn_session(cmd, variables)
    }

    fn is_lvm_blocked(&self) -> bool {
        self.programs.is_lvm_blocked()
    }

    fn has(&self, program: &str) -> bool {
        self.programs.has(program)
    }
}

fn new_histogram() -> Histogram {
    Histogram::new(DURATIONS)
}

/// Returns the name of LVM's command.
fn name(cmd: &Cmd) -> &'static str {
    let Some(first) = cmd.arguments().first() else {
        return "other";
    };
    let known = COMMANDS.into_iter().find(|command| command == first);
    known.unwrap_or("other")
}

fn result(done: &Result<Output, Error>) -> &'static str {
    match done {
        Ok(output) if output.success() => "success",
        Err(Error::Deadline { .. }) => "timeout",
        Ok(_) | Err(_) => "failure",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use host::{Cmd, Error, Exec, Output};

    use super::MeasuredExec;
    use crate::agent::lvm::activity::LvmActivity;
    use crate::metrics::{Format, Metrics};

    /// Succeeds, fails or times out, depending on the command.
    struct Programs;

    impl Exec for Programs {
        fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
            match cmd.arguments().first().map(String::as_str) {
                Some("lvremove") => Err(Error::Deadline {
                    command: cmd.line(),
                    limit: Duration::ZERO,
                }),
                Some("lvextend") => Ok(Output::default()),
                _ => Ok(Output {
                    code: Some(0),
                    ..Output::default()
                }),
            }
        }
    }

    #[test]
    fn lvm_commands_are_counted_by_name_and_result() {
        let exec = MeasuredExec::new(Arc::new(Programs), LvmActivity::default());
        let metrics = Metrics::of_agent("n");
        exec.register(&metrics);
        for (program, command) in [
            ("lvm", "lvremove"),
            ("lvm", "lvextend"),
            ("lvm", "lvcreate"),
            ("lvm", "lvcreate"),
            ("lvm", "lvrename"),
            ("blkid", "lvcreate"),
        ] {
            let _ = exec.exec(&Cmd::new(program).arg(command));
        }
        let text = metrics.text(Format::OpenMetrics).unwrap();
        for (command, result, count) in [
            ("lvremove", "timeout", 1),
            ("lvextend", "failure", 1),
            ("lvcreate", "success", 2),
            ("other", "success", 1),
        ] {
            let labels = format!("{{node=\"n\",command=\"{command}\",result=\"{result}\"}}");
            let sample = format!("\nflexlvm_lvm_commands_total{labels} {count}\n");
            assert!(text.contains(&sample), "{sample} in {text}");
        }
        let sample =
            "flexlvm_lvm_command_duration_seconds_count{node=\"n\",command=\"lvcreate\"} 2";
        assert!(text.contains(sample), "{text}");
    }
}
