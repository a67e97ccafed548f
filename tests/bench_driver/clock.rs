//! Measures time: each subject is started in the same way, directly from this program, without a
//! shell.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A program with its arguments.
pub(crate) type Line = Vec<String>;

/// Returns the time of these programs, run one after the other.
///
/// As in the kubelet, one pipe receives both outputs, and a program has ended when the pipe is
/// closed and the exit status is known.
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
    drop(command); // Closes the writing ends that it holds.
    let mut output = String::new();
    reader.read_to_string(&mut output)?;
    let status = child.wait()?;
    ensure!(status.success(), "{line:?} ended with {status}: {output}");
    Ok(output)
}

/// Runs a shell script outside of a measurement.
pub(crate) fn shell(script: &str) -> Result<String> {
    let words = ["sh", "-ec", script].map(str::to_owned);
    Ok(run(&words.to_vec())?.trim().to_owned())
}
