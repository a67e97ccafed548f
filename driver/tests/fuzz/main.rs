//! Fuzzes the driver: every input must have one reply, without a panic or a secret, and no
//! unvalidated text may reach a command line.
//!
//! It runs in process, through [`driver::run`], with the folders of a [`fixture`] and without
//! starting programs. `make fuzz` runs a million inputs. Each input depends only on a seed and its
//! number, which are printed and reproduce a failure: `FUZZ_SEED=… FUZZ_FIRST=… FUZZ_INPUTS=1`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![expect(
    clippy::print_stdout,
    reason = "the seed must be printed to reproduce a failure"
)]

mod checks;
mod fixture;
mod grammar;
mod json;
mod random;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use driver::Reply;
use flexvolume::{option_lists, options};
use host::fs::{self, MkfsRequest};
use host::{Bytes, Cmd};

use fixture::{FakeExec, Fixture};
use grammar::Input;
use random::Random;

/// Statistics of a run.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<(String, &'static str), u64>,
    sentences: BTreeSet<String>,
    programs: BTreeMap<&'static str, u64>,
    slowest: Duration,
}

#[test]
fn every_input_has_one_reply_and_reaches_no_program_unvalidated() {
    let number = |name: &str| {
        std::env::var_os(name).map(|text| text.to_str().unwrap().parse::<u64>().unwrap())
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    let inputs = number("FUZZ_INPUTS");
    let seeds = match number("FUZZ_SEED") {
        Some(seed) => vec![seed],
        None if inputs.is_some() => vec![u64::from(now)],
        None => vec![1, u64::from(now)],
    };
    for seed in seeds {
        run(
            seed,
            number("FUZZ_FIRST").unwrap_or(0),
            inputs.unwrap_or(10_000),
        );
    }
}

/// Runs `inputs` inputs from number `first`, and prints statistics.
fn run(seed: u64, first: u64, inputs: u64) {
    println!("seed {seed}, inputs {first} to {}", first + inputs - 1);
    let fixture = Fixture::new();
    let mut tally = Tally::default();
    let begun = Instant::now();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let failed = (first..first + inputs).find_map(|index| {
        let input = grammar::input(&mut Random::new(seed, index), &fixture);
        let result = run_one(seed, index, &input, &fixture, &mut tally);
        result.err().map(|why| {
            format!(
                "FUZZ_SEED={seed} FUZZ_FIRST={index} FUZZ_INPUTS=1: {why}\n{:?}",
                shortest(seed, index, input, &fixture)
            )
        })
    });
    std::panic::set_hook(hook);
    if let Some(failed) = failed {
        panic!("{failed}");
    }
    assert!(
        fixture.is_unchanged(),
        "a folder of {} was changed",
        fixture.root().display()
    );
    print(&tally, inputs, begun.elapsed());
}

fn run_one(
    seed: u64,
    index: u64,
    input: &Input,
    fixture: &Fixture,
    tally: &mut Tally,
) -> Result<(), String> {
    let exec = FakeExec::new(Random::new(!seed, index));
    let host = fixture.node(&mut Random::new(seed, !index), &exec);
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| driver::run(&input.args, &host)));
    let outcome = result.map_err(|panic| format!("panic: {:?}", panic.downcast_ref::<String>()))?;
    tally.slowest = tally.slowest.max(begun.elapsed());
    let reply = outcome.reply;
    checks::reply(&input.args, &reply)?;
    checks::line(&input.args, &reply, outcome.note.as_ref())?;
    check_options(input, &exec)?;
    let verb = input
        .args
        .first()
        .and_then(|verb| verb.to_str())
        .filter(|verb| words::CALLS.contains(verb));
    *tally
        .outcomes
        .entry((verb.unwrap_or("(another)").to_owned(), reply.outcome()))
        .or_default() += 1;
    if let Reply::Failure(sentence) = &reply {
        tally.sentences.insert(
            sentence
                .chars()
                .filter(char::is_ascii_lowercase)
                .take(30)
                .collect(),
        );
    }
    exec.commands().iter().try_for_each(|cmd| {
        *tally.programs.entry(Cmd::program(cmd)).or_default() += 1;
        checks::command(cmd, input.mutated)
    })
}

/// Runs the part of the driver that uses options once there is a device; the fixture has none.
fn check_options(input: &Input, exec: &FakeExec) -> Result<(), String> {
    for json in input
        .args
        .iter()
        .filter_map(|arg| arg.to_str())
        .filter(|arg| arg.starts_with('{'))
    {
        let Ok(options) = options::parse(json) else {
            continue;
        };
        let fs = options.filesystem;
        if let Ok(parsed) = option_lists::mkfs::parse(fs, &options.mkfs) {
            let request = MkfsRequest {
                path: Path::new("/dev/dm-3"),
                size: Bytes(1 << 30),
                options: &parsed,
                time: Duration::ZERO,
            };
            let _ = fs::mkfs(exec, fs, &request);
        }
        if let Ok(parsed) = option_lists::mount::parse(fs, &options.mount) {
            checks::mount_data(&parsed.data)
                .or_else(|why| if input.mutated { Ok(()) } else { Err(why) })?;
        }
    }
    Ok(())
}

/// Reduces a failing input to fewer and shorter arguments.
fn shortest(seed: u64, index: u64, input: Input, fixture: &Fixture) -> Vec<OsString> {
    let fails = |args: &[OsString]| {
        let input = Input {
            args: args.to_vec(),
            mutated: input.mutated,
        };
        run_one(seed, index, &input, fixture, &mut Tally::default()).is_err()
    };
    let mut args = input.args.clone();
    for at in (0..args.len()).rev() {
        let mut fewer = args.clone();
        fewer.remove(at);
        if fails(&fewer) {
            args = fewer;
        }
    }
    for at in 0..args.len() {
        let Some(text) = args[at].to_str().map(str::to_owned) else {
            continue;
        };
        let mut shorter: Vec<char> = text.chars().collect();
        let mut step = shorter.len() / 2;
        while step > 0 {
            let mut from = 0;
            while from + step <= shorter.len() {
                let mut tried = shorter.clone();
                tried.drain(from..from + step);
                args[at] = tried.iter().collect::<String>().into();
                if fails(&args) {
                    shorter = tried;
                } else {
                    from += step;
                }
            }
            step /= 2;
        }
        args[at] = shorter.into_iter().collect::<String>().into();
    }
    args
}

fn print(tally: &Tally, inputs: u64, time: Duration) {
    println!(
        "{inputs} inputs in {:.1} s, the slowest {} ms; {} kinds of failure",
        time.as_secs_f64(),
        tally.slowest.as_millis(),
        tally.sentences.len()
    );
    for ((verb, outcome), count) in &tally.outcomes {
        println!("  {verb:16} {outcome:14} {count:8}");
    }
    for (program, count) in &tally.programs {
        println!("  would have run {program:10} {count:5} times");
    }
}

/// Runs the real program, which starts real programs: the volume group does not exist.
#[test]
fn program_prints_one_json_value() {
    let fixture = Fixture::new();
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    for index in 0..100 {
        let input = grammar::input(&mut Random::new(u64::from(seed), index), &fixture);
        // The kernel rejects such arguments.
        if input
            .args
            .iter()
            .any(|arg| arg.as_encoded_bytes().contains(&0) || arg.len() >= 128 << 10)
        {
            continue;
        }
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = program();
        command
            .args(&input.args)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut output = String::new();
        std::io::Read::read_to_string(&mut reader, &mut output).unwrap();
        assert_eq!(
            child.wait().unwrap().code(),
            Some(0),
            "seed {seed}, input {index}: {:?}",
            input.args
        );
        let value: Result<serde_json::Value, _> = serde_json::from_str(&output);
        assert!(
            value.is_ok_and(|value| value["status"].is_string()),
            "seed {seed}, input {index}: {output:?} for {:?}",
            input.args
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program that it tests"
)]
fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_flexlvm-driver"))
}
