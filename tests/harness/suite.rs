//! Tests that run inside a cluster's namespaces, sequentially except those marked as parallel, with
//! the arguments and reports of `cargo test`.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial, run};
use tokio::runtime::Runtime;

use crate::kubernetes::Kubernetes;

/// A test: a sentence, or the name of its function, and the function.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    sentence: &'static str,
    function: fn() -> anyhow::Result<()>,
    together: bool,
    /// The oldest minor version of Kubernetes that the test runs on.
    since: u32,
}

impl Test {
    /// Creates a test; the sentence states the tested behavior.
    #[must_use]
    pub const fn new(sentence: &'static str, function: fn() -> anyhow::Result<()>) -> Self {
        Self {
            sentence,
            function,
            together: false,
            since: 0,
        }
    }

    /// Creates a test that runs in parallel with all others of this kind; the first of them starts
    /// all.
    #[must_use]
    pub const fn together(sentence: &'static str, function: fn() -> anyhow::Result<()>) -> Self {
        Self {
            sentence,
            function,
            together: true,
            since: 0,
        }
    }

    /// Restricts the test to Kubernetes 1.`minor` and later: the behavior does not depend on the
    /// version, or older versions lack it.
    #[must_use]
    pub const fn since(mut self, minor: u32) -> Self {
        self.since = minor;
        self
    }

    /// Returns true if the test runs on Kubernetes 1.`minor`.
    #[must_use]
    pub const fn runs_on(&self, minor: u32) -> bool {
        minor >= self.since
    }

    fn name(&self) -> String {
        self.sentence.replace(", ", "_").replace(' ', "_")
    }

    fn run(&self) -> Outcome {
        let begun = Instant::now();
        let result = catch_unwind(self.function)
            .unwrap_or_else(|panic| Err(anyhow::anyhow!(panic_message(&*panic))));
        (result, begun.elapsed())
    }
}

/// Creates a [`Test`] of each function `module::function`, named after the function with a prefix.
/// The functions have one parameter: the fixture that the first expression returns.
#[macro_export]
macro_rules! tests_with {
    ($fixture:expr, $prefix:literal, [$($module:ident::$function:ident),+ $(,)?]) => {
        vec![$($crate::suite::Test::new(concat!($prefix, stringify!($function)), || {
            $module::$function($fixture);
            Ok(())
        })),+]
    };
}

/// Result and duration of a test.
type Outcome = (anyhow::Result<()>, Duration);

/// The threads of tests that run in parallel, by test name.
type Together = Mutex<BTreeMap<String, JoinHandle<Outcome>>>;

/// The main function of a test program of such tests.
pub fn isolated(tests: impl FnOnce() -> Vec<Test>) -> ExitCode {
    isolated_with_dump(tests, |_| ())
}

/// Like [`isolated`]; calls `on_failure` with the name of each failed test at once, to save
/// diagnostics.
pub fn isolated_with_dump(tests: impl FnOnce() -> Vec<Test>, on_failure: fn(&str)) -> ExitCode {
    crate::main(|| Ok(run_tests(tests(), "", on_failure)))
}

/// The main function of tests on a cluster: runs those for the selected version of Kubernetes, and
/// prints it after each duration.
pub fn on_kubernetes(tests: impl FnOnce() -> Vec<Test>, on_failure: fn(&str)) -> ExitCode {
    crate::main(|| {
        let kubernetes = Kubernetes::find()?;
        let version = kubernetes.version()?;
        let minor = kubernetes.minor_version()?;
        let tests = tests()
            .into_iter()
            .filter(|test| test.runs_on(minor))
            .collect();
        Ok(run_tests(tests, &format!(" on {version}"), on_failure))
    })
}

fn run_tests(tests: Vec<Test>, place: &str, on_failure: fn(&str)) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // These tests share a cluster, and cut its power.
    arguments.test_threads = Some(1);
    let together: Vec<Test> = tests
        .iter()
        .filter(|test| test.together && is_wanted(&arguments, &test.name()))
        .copied()
        .collect();
    let running: Arc<LazyLock<Together, _>> = Arc::new(LazyLock::new(move || {
        Mutex::new(
            together
                .iter()
                .map(|test| {
                    (test.name(), {
                        let test = *test;
                        spawn(move || test.run())
                    })
                })
                .collect(),
        )
    }));
    let trials = tests
        .into_iter()
        .map(|test: Test| {
            let name = test.name();
            let running = Arc::clone(&running);
            let place = place.to_owned();
            Trial::test(name.clone(), move || {
                let begun = test
                    .together
                    .then(|| running.lock().expect("no panic here").remove(&name))
                    .flatten();
                let outcome = begun.map_or_else(
                    || test.run(),
                    |thread| thread.join().expect("panics are caught"),
                );
                // Printed between the test's name and its result.
                print!("({:.1} s{place}) ", outcome.1.as_secs_f64());
                outcome
                    .0
                    .inspect_err(|_| on_failure(&name))
                    .map_err(|error| format!("{error:#}").into())
            })
        })
        .collect();
    run(&arguments, trials).exit_code()
}

/// Returns true if the arguments select a test, by the rules of `cargo test`.
fn is_wanted(arguments: &Arguments, name: &str) -> bool {
    let is = |filter: &String| {
        if arguments.exact {
            name == filter
        } else {
            name.contains(filter)
        }
    };
    !arguments.list && arguments.filter.as_ref().is_none_or(is) && !arguments.skip.iter().any(is)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<String>() {
        return message.clone();
    }
    match panic.downcast_ref::<&str>() {
        Some(message) => (*message).to_owned(),
        None => "panic".to_owned(),
    }
}

/// The runtime that all tests of a program share: a client belongs to the runtime that created it.
#[must_use]
pub fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    &RUNTIME
}
