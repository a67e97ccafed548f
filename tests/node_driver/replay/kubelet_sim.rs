//! A simulation of the kubelet: replays a sequence with one volume, in the guest. Makes each
//! call-out once, twice, killed and repeated, or several times concurrently; and verifies the
//! state, also with the node's own programs.
//!
//! [`steps`] executes the steps of a sequence, [`volume`] prepares the volume and verifies its end.

mod steps;
mod volume;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The way in which a call-out is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Once,
    Twice,
    Killed,
    AtOnce,
    /// A random one of these for each call.
    Mixed,
}

impl Manner {
    /// The manners of a single call.
    pub(crate) const CALLS: [Self; 4] = [Self::Once, Self::Twice, Self::Killed, Self::AtOnce];

    /// Returns the manner with this name.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::CALLS
            .into_iter()
            .find(|manner| format!("{manner:?}") == name)
            .unwrap_or(Self::Mixed)
    }
}

/// The kubelet, the agent and a pod's program in one.
pub(crate) struct KubeletSim {
    pub(crate) driver: String,
    pub(crate) manner: Manner,
    /// State of the random numbers; never 0.
    pub(crate) seed: Cell<u64>,
    /// Size in MiB when the file was written.
    pub(crate) size: Cell<u64>,
    pub(crate) options: BTreeMap<String, String>,
}

impl KubeletSim {
    /// Makes a call-out that must succeed, in the manner of this simulation.
    fn call(&self, args: &[&str]) -> Result<()> {
        let manner = match self.manner {
            Manner::Mixed => {
                Manner::CALLS[usize::try_from(self.below(Manner::CALLS.len() as u64))?]
            }
            manner => manner,
        };
        match manner {
            Manner::Twice => self.succeeds(args)?,
            Manner::Killed => {
                let mut child = self.start(args)?;
                // Log-uniform: as likely in the first millisecond as in the last hundred.
                let least = 200 << self.below(11);
                sleep(Duration::from_micros(least + self.below(least)));
                child.kill()?;
                child.wait()?;
            }
            Manner::AtOnce => {
                let children = (0..3)
                    .map(|_| self.start(args))
                    .collect::<Result<Vec<_>>>()?;
                for child in children {
                    let reply = answer_of(child)?;
                    // The kubelet would repeat this one.
                    let again = reply["message"]
                        .as_str()
                        .is_some_and(|message| message.contains("Kubernetes retries"));
                    ensure!(
                        reply["status"] == "Success" || again,
                        "at once, {args:?}: {reply}"
                    );
                }
            }
            Manner::Once | Manner::Mixed => {}
        }
        self.succeeds(args).with_context(|| format!("{manner:?}"))
    }

    fn succeeds(&self, args: &[&str]) -> Result<()> {
        // A program that outlives its driver keeps the lock, and the kubelet retries.
        for _ in 0..3 {
            let reply = self.answer(args)?;
            if reply["status"] == "Success" {
                return Ok(());
            }
            let again = reply["message"]
                .as_str()
                .is_some_and(|message| message.contains("Kubernetes retries"));
            ensure!(again, "{args:?}: {reply}");
        }
        bail!("{args:?}: no success after all retries")
    }

    fn answer(&self, args: &[&str]) -> Result<Value> {
        answer_of(self.start(args)?)
    }

    fn start(&self, args: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.driver);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().context("cannot start the driver")
    }

    /// Returns a random number below `end`, by SplitMix64.
    fn below(&self, end: u64) -> u64 {
        self.seed
            .set(self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mixed = (self.seed.get() ^ (self.seed.get() >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn answer_of(child: Child) -> Result<Value> {
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}
