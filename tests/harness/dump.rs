//! Dumps for the analysis of a failure: Events, objects and logs of the cluster, consoles and
//! storage of its nodes.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::cluster::Cluster;

/// The folder of dumps: `$FLEXLVM_LOGS`, or `logs` in cargo's target folder.
#[must_use]
pub fn folder() -> PathBuf {
    env::var_os("FLEXLVM_LOGS")
        .map(PathBuf::from)
        .or_else(|| {
            env::current_exe()
                .ok()?
                .ancestors()
                .nth(3)
                .map(|target| target.join("logs"))
        })
        .unwrap_or_else(|| PathBuf::from("logs"))
}

/// `kubectl` queries, each the content of a file in a dump.
const QUESTIONS: &[(&str, &[&str])] = &[
    (
        "events",
        &[
            "get",
            "events",
            "-A",
            "--sort-by=.metadata.creationTimestamp",
        ],
    ),
    ("pods", &["describe", "pods", "-A"]),
    ("claims", &["get", "pv,pvc,sc", "-A", "-o", "yaml"]),
    (
        "ours",
        &[
            "get",
            "storagebackends,logicalvolumes,nodestorages",
            "-o",
            "yaml",
        ],
    ),
    (
        "controller",
        &[
            "logs",
            "-n",
            "flexlvm-system",
            "-l",
            "app.kubernetes.io/component=controller",
            "--tail=-1",
        ],
    ),
    (
        "agents",
        &[
            "logs",
            "-n",
            "flexlvm-system",
            "-l",
            "app.kubernetes.io/component=agent",
            "--tail=-1",
            "--prefix",
        ],
    ),
];

/// Script that lists a node's storage as the node observes it.
const STORAGE: &str = "lvs -a -o +tags,uuid; vgs; findmnt -l; tail -n 200 /var/log/containerd.log";

impl Cluster {
    /// Writes a dump into a folder, prints its path and the latest Events.
    ///
    /// Queries that fail are skipped.
    pub fn dump(&self, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        if let Err(error) = fs::create_dir_all(folder) {
            eprintln!("cannot write a dump to {}: {error}", folder.display());
            return;
        }
        for (name, question) in QUESTIONS {
            let answer = self
                .api()
                .kubectl(question)
                .unwrap_or_else(|error| format!("{error:#}"));
            if *name == "events" {
                let lines: Vec<&str> = answer.lines().collect();
                eprintln!("{}", lines[lines.len().saturating_sub(15)..].join("\n"));
            }
            let _ = fs::write(folder.join(name), answer);
        }
        for guest in self.nodes() {
            // A node without power or network answers nothing; its console is among the logs below.
            let storage = guest
                .run(&["sh", "-c", STORAGE])
                .map(|output| output.stdout + &output.stderr);
            let _ = fs::write(
                folder.join(format!("{}-storage", guest.name())),
                storage.unwrap_or_default(),
            );
        }
        let files = fs::read_dir(self.api().workplace().folder())
            .into_iter()
            .flatten()
            .flatten();
        for file in files.filter(|file| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "log")
        }) {
            let _ = fs::copy(file.path(), folder.join(file.file_name()));
        }
        eprintln!("more in {}", folder.display());
    }
}
