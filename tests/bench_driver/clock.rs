//! The clock: the same start for every contestant, straight from this program, with no shell
//! between.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A program with its arguments.
pub(crate) type Line = Vec<String>;

/// How long these take, one after the other, from the start of the first to the end of the last. As
/// the kubelet does it, one pipe takes both outputs, and a program has ended when that is closed
/// and its status is known.
pub(crate) fn time(lines: &[Line]) -> Result<Duration> {
    let mut outputs = Vec::with_capacity(lines.len());
    let begun = Instant::now();
    for line in lines {
        outputs.push(run(line)?);
    }
    let time = begun.elapsed();
    for (line, output) in lines.iter().zip(outputs) {
        let failed = output.starts_with('{') && !output.contains(r#""Success""#);
        ensure!(!failed, "{line:?} answered {output}");
    }
    Ok(time)
}

fn run(line: &Line) -> Result<String> {
    let (program, arguments) = line.split_first().context("no program")?;
    let (mut reader, writer) = std::io::pipe()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    drop(command); // It holds the writing ends.
    let mut output = String::new();
    reader.read_to_string(&mut output)?;
    let status = child.wait()?;
    ensure!(status.success(), "{line:?} ended with {status}: {output}");
    Ok(output)
}

/// The same, where nobody looks at the clock.
pub(crate) fn shell(script: &str) -> Result<String> {
    let words = ["sh", "-ec", script].map(str::to_owned);
    Ok(run(&words.to_vec())?.trim().to_owned())
}
