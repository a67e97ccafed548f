//! Whatever the driver is given: one answer, no panic, no secret, and no word in a command line
//! that was not looked at first.
//!
//! In process, through [`driver::run`], with a node whose folders are a scratch folder's and whose
//! door starts nothing. `make fuzz` runs a million inputs; each is made of a seed and its number
//! alone, so that the two printed numbers bring a failing one back: `FUZZ_SEED=… FUZZ_FIRST=…
//! FUZZ_INPUTS=1`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![expect(
    clippy::print_stdout,
    reason = "a seed that nobody sees brings no failure back"
)]

mod grammar;
mod json;
mod judge;
mod random;
mod words;
mod world;

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

use grammar::Input;
use random::Random;
use world::{Door, World};

/// What was seen in a run.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<(String, &'static str), u64>,
    sentences: BTreeSet<String>,
    programs: BTreeMap<&'static str, u64>,
    slowest: Duration,
}

#[test]
fn every_input_has_one_answer_and_reaches_no_program_unchecked() {
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

/// Runs so many inputs, and prints what they did.
fn run(seed: u64, first: u64, inputs: u64) {
    println!("seed {seed}, inputs {first} to {}", first + inputs - 1);
    let (world, mut tally, begun) = (World::new(), Tally::default(), Instant::now());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let failed = (first..first + inputs).find_map(|index| {
        let input = grammar::input(&mut Random::of(seed, index), &world);
        let result = one(seed, index, &input, &world, &mut tally);
        result.err().map(|why| {
            format!(
                "FUZZ_SEED={seed} FUZZ_FIRST={index} FUZZ_INPUTS=1: {why}\n{:?}",
                shortest(seed, index, input, &world)
            )
        })
    });
    std::panic::set_hook(hook);
    if let Some(failed) = failed {
        panic!("{failed}");
    }
    assert!(
        world.is_untouched(),
        "a folder of {} was changed",
        world.root().display()
    );
    print(&tally, inputs, begun.elapsed());
}

fn one(
    seed: u64,
    index: u64,
    input: &Input,
    world: &World,
    tally: &mut Tally,
) -> Result<(), String> {
    let door = Door::new(Random::of(!seed, index));
    let node = world.node(&mut Random::of(seed, !index), &door);
    let begun = Instant::now();
    let answer = catch_unwind(AssertUnwindSafe(|| driver::run(&input.args, &node)));
    let (reply, remark) =
        answer.map_err(|panic| format!("panic: {:?}", panic.downcast_ref::<String>()))?;
    tally.slowest = tally.slowest.max(begun.elapsed());
    judge::reply(&input.args, &reply)?;
    judge::line(&input.args, &reply, remark.as_deref())?;
    beyond_the_device(input, &door)?;
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
    door.asked().iter().try_for_each(|cmd| {
        *tally.programs.entry(Cmd::program(cmd)).or_default() += 1;
        judge::command(cmd, input.mutated)
    })
}

/// What the driver does with options once there is a device; here there is none.
fn beyond_the_device(input: &Input, door: &Door) -> Result<(), String> {
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
            let (path, time) = (Path::new("/dev/dm-3"), Duration::ZERO);
            let _ = fs::mkfs(
                door,
                fs,
                &MkfsRequest {
                    path,
                    size: Bytes(1 << 30),
                    options: &parsed,
                    time,
                },
            );
        }
        if let Ok(parsed) = option_lists::mount::parse(fs, &options.mount) {
            judge::mount_data(&parsed.data)
                .or_else(|why| if input.mutated { Ok(()) } else { Err(why) })?;
        }
    }
    Ok(())
}

/// The same failure with fewer arguments, and shorter ones.
fn shortest(seed: u64, index: u64, input: Input, world: &World) -> Vec<OsString> {
    let fails = |args: &[OsString]| {
        let input = Input {
            args: args.to_vec(),
            mutated: input.mutated,
        };
        one(seed, index, &input, world, &mut Tally::default()).is_err()
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

/// The real program, with its real door: it finds no such volume group, whatever this machine has.
#[test]
fn the_program_itself_prints_one_json_value() {
    let (world, seed) = (
        World::new(),
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos(),
    );
    for index in 0..100 {
        let input = grammar::input(&mut Random::of(u64::from(seed), index), &world);
        // What the kernel itself refuses to pass on.
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
