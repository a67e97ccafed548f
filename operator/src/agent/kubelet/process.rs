//! Finds the kubelet among the node's processes.
//!
//! A candidate has a program's name of [`KubeletProgram`] and is in the PID namespace of the node's
//! PID 1: a kubelet in a container with processes of its own, as in kind, belongs to another node.
//! A candidate whose parent is one, too, is its child that has not started its program yet. Of
//! several candidates, those in the mount namespace of PID 1 come first, then the lowest PID.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use host::Error;
use rustix::io::Errno;

/// The node's kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletProcess {
    /// Its PID.
    pub pid: u32,
    /// The program that it is, or is a part of.
    pub program: KubeletProgram,
    /// Its arguments, without the program's name.
    pub arguments: Vec<String>,
    /// Its root folder, as the agent sees it. Below `/proc/1` if it has the mounts of PID 1: then
    /// the path outlasts the process.
    pub root: PathBuf,
    /// Its working directory, as the kubelet sees it.
    pub directory: PathBuf,
}

/// The programs that contain a kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubeletProgram {
    /// `kubelet`, or `hyperkube kubelet`.
    Kubelet,
    /// `k3s server` and `k3s agent`. RKE2 and k0s start a `kubelet`.
    K3s,
    /// MicroK8s.
    Kubelite,
    /// MicroShift.
    MicroShift,
}

/// A process that may be the kubelet.
#[derive(Clone, Debug)]
struct KubeletCandidate {
    process: KubeletProcess,
    parent: u32,
    has_mounts_of_node: bool,
}

/// Returns the kubelet of the node whose `/proc` this is; `None` if none is running.
///
/// # Errors
/// If `/proc` can't be read.
pub fn find(proc: &Path) -> Result<Option<KubeletProcess>, Error> {
    let mut candidates = Vec::new();
    for entry in fs::read_dir(proc).map_err(Error::io("read", proc))? {
        let name = entry.map_err(Error::io("read", proc))?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            candidates.extend(candidate(proc, pid)?);
        }
    }
    Ok(choose(candidates))
}

/// Returns whether the process is still running.
#[must_use]
pub fn is_running(proc: &Path, pid: u32) -> bool {
    proc.join(pid.to_string()).exists()
}

fn choose(candidates: Vec<KubeletCandidate>) -> Option<KubeletProcess> {
    let pids: Vec<u32> = candidates.iter().map(|one| one.process.pid).collect();
    candidates
        .into_iter()
        .filter(|one| !pids.contains(&one.parent))
        .min_by_key(|one| (!one.has_mounts_of_node, one.process.pid))
        .map(|one| one.process)
}

/// Returns the process as a candidate; `None` if it is none, or has ended.
fn candidate(proc: &Path, pid: u32) -> Result<Option<KubeletCandidate>, Error> {
    let folder = proc.join(pid.to_string());
    let Some(name) = read(&folder.join("comm"))? else {
        return Ok(None);
    };
    if !KubeletProgram::may_have_name(name.trim_end()) {
        return Ok(None);
    }
    let (Some(line), Some(status)) = (
        read(&folder.join("cmdline"))?,
        read(&folder.join("status"))?,
    ) else {
        return Ok(None);
    };
    let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
    let Some((program, arguments)) = KubeletProgram::from_command(name.trim_end(), &words) else {
        return Ok(None);
    };
    // One number for each PID namespace, from that of this `/proc` inwards (proc(5)).
    let namespaces = field(&status, "NSpid").map_or(1, |pids| pids.split_whitespace().count());
    let Some(parent) = field(&status, "PPid").and_then(|parent| parent.trim().parse().ok()) else {
        return Ok(None);
    };
    if namespaces != 1 {
        return Ok(None);
    }
    let mounts = mount_namespace(&folder);
    let has_mounts_of_node = mounts.is_some() && mounts == mount_namespace(&proc.join("1"));
    let root = if has_mounts_of_node {
        proc.join("1/root")
    } else {
        folder.join("root")
    };
    let process = KubeletProcess {
        pid,
        program,
        arguments,
        root,
        directory: fs::read_link(folder.join("cwd")).unwrap_or_else(|_| "/".into()),
    };
    Ok(Some(KubeletCandidate {
        process,
        parent,
        has_mounts_of_node,
    }))
}

impl KubeletProgram {
    /// Returns whether a process of this name may contain a kubelet: the name of its program, at
    /// most 15 characters.
    fn may_have_name(name: &str) -> bool {
        let names = ["kubelet", "hyperkube", "kubelite", "microshift"];
        names.contains(&name) || name == "k3s" || name.starts_with("k3s-")
    }

    /// Returns the program and its arguments, if a process of this name and command line contains a
    /// kubelet.
    fn from_command(name: &str, words: &[&str]) -> Option<(Self, Vec<String>)> {
        let (path, arguments) = words.split_first()?;
        let owned = |words: &[&str]| words.iter().copied().map(str::to_owned).collect();
        let starts_with = |verbs: &[&str]| arguments.first().is_some_and(|it| verbs.contains(it));
        match name {
            "kubelet" => Some((Self::Kubelet, owned(arguments))),
            "hyperkube" if starts_with(&["kubelet"]) => Some((Self::Kubelet, owned(arguments))),
            "kubelite" => Some((Self::Kubelite, owned(arguments))),
            "microshift" if starts_with(&["run"]) => Some((Self::MicroShift, owned(arguments))),
            // k3s hides its arguments: its command line becomes the single word `…/k3s server`.
            "k3s" | "k3s-server" | "k3s-agent"
                if starts_with(&["server", "agent"])
                    || path.ends_with(" server")
                    || path.ends_with(" agent") =>
            {
                Some((Self::K3s, owned(arguments)))
            }
            _ => None,
        }
    }
}

fn mount_namespace(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/mnt")).ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Returns the content of a process's file; `None` if the process has ended.
fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read(path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
