//! What a soak has done and found: counters and the last line of its output. Pure.

use std::collections::BTreeMap;

use crate::model::{Action, Victim};
use crate::verify::{Finding, Kind};

/// Counters of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Number of actions by kind, as far as they took effect.
    counts: BTreeMap<&'static str, u32>,
    /// Number of killed processes.
    pub(crate) kills: u32,
}

impl Tally {
    /// Counts an action that took effect.
    pub(crate) fn count(&mut self, action: &Action) {
        *self.counts.entry(kind(action)).or_default() += 1;
    }

    fn of(&self, kind: &str) -> u32 {
        self.counts.get(kind).copied().unwrap_or_default()
    }

    /// Returns a line with all counters.
    pub(crate) fn summary(&self) -> String {
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        format!("{}; processes killed {}", counts.join(", "), self.kills)
    }

    /// Returns the last line of the output.
    ///
    /// Without the comparison at the end, a violation that was not found may exist all the same: its
    /// count is null.
    pub(crate) fn last_line(
        &self,
        minutes: u64,
        seed: u64,
        findings: &[Finding],
        is_compared: bool,
    ) -> String {
        let count = |kind| findings.iter().filter(|it| it.kind == kind).count();
        let of = |kind| match count(kind) {
            0 if !is_compared => "null".to_owned(),
            found => found.to_string(),
        };
        let result = if findings.is_empty() { "ok" } else { "failed" };
        format!(
            r#"{{"soak":"{result}","minutes":{minutes},"seed":{seed},"claims":{},"kills":{},"power_cuts":{},"lost":{},"leaked":{},"doubled":{},"unexplained":{}}}"#,
            self.of("create"),
            self.kills,
            self.of("cut power"),
            of(Kind::Lost),
            of(Kind::Leaked),
            of(Kind::Doubled),
            count(Kind::Unexplained)
        )
    }
}

fn kind(action: &Action) -> &'static str {
    match action {
        Action::Create { .. } => "create",
        Action::Grow { .. } => "grow",
        Action::StartPod { .. } => "start pod",
        Action::StopPod { .. } => "stop pod",
        Action::Write { .. } => "write",
        Action::Check { .. } => "check",
        Action::Delete { .. } => "delete",
        Action::Kill { victim, .. } => match victim {
            Victim::Controller => "kill controller",
            Victim::Agent => "kill agent",
            Victim::Kubelet => "kill kubelet",
            Victim::Lvm => "kill LVM",
        },
        Action::CutPower { .. } => "cut power",
        Action::Boot { .. } => "boot",
        Action::StartNode { .. } => "start node",
        Action::FailDisk { .. } => "fail disk",
        Action::ReturnDisk { .. } => "return disk",
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use crate::model::Action;
    use crate::verify::{Finding, Kind};

    #[test]
    fn last_line_has_the_counters_and_findings() {
        let mut tally = Tally::default();
        tally.count(&Action::CutPower { node: 1 });
        tally.kills = 3;
        assert_eq!(
            tally.last_line(2, 7, &[], true),
            r#"{"soak":"ok","minutes":2,"seed":7,"claims":0,"kills":3,"power_cuts":1,"lost":0,"leaked":0,"doubled":0,"unexplained":0}"#
        );
        let finding = Finding::new(Kind::Doubled, "x");
        let line = tally.last_line(2, 7, std::slice::from_ref(&finding), true);
        assert!(line.contains(r#""soak":"failed""#) && line.contains(r#""doubled":1"#));
        let line = tally.last_line(2, 7, &[finding], false);
        assert!(line.contains(r#""lost":null"#) && line.contains(r#""unexplained":0"#));
    }
}
