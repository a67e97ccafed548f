//! Tests that run inside a cluster's namespaces, one after the other, as `cargo test` runs and reports any others.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial, run};

/// A test: a sentence and a function.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    sentence: &'static str,
    function: fn() -> anyhow::Result<()>,
}

impl Test {
    /// The sentence says what holds.
    #[must_use]
    pub const fn new(sentence: &'static str, function: fn() -> anyhow::Result<()>) -> Self {
        Self { sentence, function }
    }
}

/// The whole main function of a test program of such tests.
pub fn isolated(tests: impl FnOnce() -> Vec<Test>) -> ExitCode {
    crate::main(|| {
        let mut arguments = Arguments::from_args();
        // They share a cluster, and cut its power.
        arguments.test_threads = Some(1);
        let trial = |test: Test| {
            Trial::test(test.sentence.replace(", ", "_").replace(' ', "_"), move || {
                (test.function)().map_err(|error| format!("{error:#}").into())
            })
        };
        Ok(run(&arguments, tests().into_iter().map(trial).collect()).exit_code())
    })
}
