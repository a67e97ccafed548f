//! The kernel of a guest: the program linux.uml with the preload that works around its faults, and
//! the cause of its end.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workplace::Workplace;

/// Works around two faults: floating-point state on processors with AMX, and lost timer interrupts;
/// see the file.
const WORKAROUNDS: &str = include_str!("../../guest/uml_preload.c");

/// Simulates a host with AMX.
const AMX: &str = include_str!("../../guest/large_xstate.c");

/// Environment variable: `amx` runs all guests as on a host with AMX.
const SIMULATE: &str = "FLEXLVM_SIMULATE";

/// The host type that a guest's kernel detects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// The real host, or the one that the environment variable `FLEXLVM_SIMULATE` names.
    #[default]
    Usual,
    /// A host with AMX.
    Amx,
    /// A host with AMX, without the workarounds for it: the guest panics.
    AmxWithoutWorkarounds,
}

/// Compiles a program or, with `-shared` among the flags, a preload; returns its path.
pub fn compile(workplace: &Workplace, name: &str, source: &str, flags: &[&str]) -> Result<PathBuf> {
    let program = workplace.path(name);
    if program.exists() {
        return Ok(program);
    }
    let source = workplace.write(&format!("{name}.c"), source)?;
    // Guests that start in parallel may all compile it: the last rename wins.
    let unfinished = workplace.path(&crate::namespace::unique(name));
    let output = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-psabi"])
        .args(flags)
        .arg("-o")
        .args([&unfinished, &source])
        .output()
        .context("cannot run cc: `tests/cluster/prepare cluster` installs it")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "cc {name}.c: {complaint}");
    std::fs::rename(unfinished, &program)?;
    Ok(program)
}

/// Returns the value of `LD_PRELOAD` for the kernel of a guest on this host.
pub(super) fn preloads(workplace: &Workplace, host: Host) -> Result<String> {
    let simulates_amx =
        host != Host::Usual || std::env::var(SIMULATE).is_ok_and(|value| value == "amx");
    let mut preloads = Vec::new();
    if host != Host::AmxWithoutWorkarounds {
        preloads.push(compile_preload(workplace, "uml_preload.so", WORKAROUNDS)?);
    }
    // After the workarounds, which then call the simulated host.
    if simulates_amx {
        preloads.push(compile_preload(workplace, "large_xstate.so", AMX)?);
    }
    Ok(preloads.join(":"))
}

fn compile_preload(workplace: &Workplace, name: &str, source: &str) -> Result<String> {
    let path = compile(workplace, name, source, &["-shared", "-fPIC"])?;
    Ok(path.display().to_string())
}

/// Returns the cause of a kernel's end from its console, in one line: the last line before the
/// panic, and the panic.
///
/// The console's last line if the kernel did not panic.
pub(super) fn cause_of_end(console: &str) -> String {
    let lines: Vec<&str> = console
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let panic = lines.iter().position(|line| line.contains("Kernel panic"));
    let last = match panic {
        Some(panic) => &lines[panic.saturating_sub(1)..=panic],
        None => &lines[lines.len().saturating_sub(1)..],
    };
    if last.is_empty() {
        "it printed nothing".to_owned()
    } else {
        last.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: &str = include_str!("../../guest/xstate_probe.c");

    /// Returns the output of the probe, which sets the state of a process as linux.uml does.
    fn probe(host: Option<Host>) -> Result<String> {
        let workplace = Workplace::on_host()?;
        let program = compile(&workplace, "xstate_probe", PROBE, &[])?;
        let preloads = host.map(|host| preloads(&workplace, host)).transpose()?;
        let output = Command::new(program)
            .env("LD_PRELOAD", preloads.unwrap_or_default())
            .output()?;
        let found = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        Ok(String::from_utf8(found)?.trim().to_owned())
    }

    #[test]
    fn preload_extends_state_to_size_on_host_with_amx() {
        let found = probe(Some(Host::Amx)).unwrap();
        assert_eq!(
            found,
            "2696 bytes set, 11008 bytes in all, 0 not zero behind"
        );
    }

    #[test]
    fn preload_keeps_state_of_equal_size() {
        assert_eq!(probe(Some(Host::Usual)).unwrap(), probe(None).unwrap());
    }

    #[test]
    fn simulated_amx_host_rejects_smaller_state() {
        let found = probe(Some(Host::AmxWithoutWorkarounds)).unwrap();
        assert_eq!(found, "setting the state: Bad address");
    }

    #[test]
    fn cause_of_end_joins_panic_and_preceding_line_without_stack() {
        let console = "mmapper_init - find_iomem failed\n\
            userspace - ptrace set fp regs failed, errno = 14\n\
            Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n\
            CPU: 0 PID: 1 Comm: init.sh Not tainted 6.1.176 #1\nStack:\n 606944ba 607e7fcd\n\
            Call Trace:\n [<606944ba>] ? _printk+0x0/0x94\n";
        assert_eq!(
            cause_of_end(console),
            "userspace - ptrace set fp regs failed, errno = 14; \
             Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b"
        );
    }

    #[test]
    fn cause_of_end_without_panic_is_last_line() {
        assert_eq!(cause_of_end("one\ntwo\n\n"), "two");
        assert_eq!(cause_of_end("\n"), "it printed nothing");
    }
}
