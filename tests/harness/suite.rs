//! Tests that run inside a cluster's namespaces, one after the other, as `cargo test` runs and reports any others.

use std::any::Any;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::LazyLock;

use libtest_mimic::{Arguments, Trial, run};
use tokio::runtime::Runtime;

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
    isolated_with_dump(tests, |_| ())
}

/// The same; `on_failure` gets the name of each test that failed, at once, to save what would explain it.
pub fn isolated_with_dump(tests: impl FnOnce() -> Vec<Test>, on_failure: fn(&str)) -> ExitCode {
    crate::main(|| {
        let mut arguments = Arguments::from_args();
        // They share a cluster, and cut its power.
        arguments.test_threads = Some(1);
        let trial = |test: Test| {
            let name = test.sentence.replace(", ", "_").replace(' ', "_");
            Trial::test(name.clone(), move || {
                let result =
                    catch_unwind(test.function).unwrap_or_else(|panic| Err(anyhow::anyhow!(words_of(&*panic))));
                result.inspect_err(|_| on_failure(&name)).map_err(|error| format!("{error:#}").into())
            })
        };
        Ok(run(&arguments, tests().into_iter().map(trial).collect()).exit_code())
    })
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words
        .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()))
        .unwrap_or_else(|| "panic".to_owned())
}

/// The runtime that all tests of a program share: clients belong to the runtime that made them.
#[must_use]
pub fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    &RUNTIME
}
