//! `init`: reports the driver's capabilities, and leaves a load stamp for the agent.
//!
//! The kubelet holds the lock of all its volume plugins meanwhile, and does not load a driver whose
//! `init` fails: so it is quick, and never fails.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::parent_id;
use std::path::Path;

use flexvolume::load_stamp::{FileIdentity, LoadStamp};
use flexvolume::settings::{DriverSettings, SettingsError};
use host::atomic_file;

use super::Outcome;
use crate::callouts::reply::Reply;
use crate::note::Note;
use crate::volume::context::Node;

/// Replies to `init`. Never fails: the kubelet does not load drivers whose `init` fails.
pub(super) fn init(node: &Node<'_>, settings: Result<DriverSettings, SettingsError>) -> Outcome {
    let mut deviation = None;
    let settings = settings.unwrap_or_else(|error| {
        deviation = Some(host::error::chain(&error));
        DriverSettings::default()
    });
    let reply = Reply::Capabilities {
        attach: settings.attach,
    };
    if let Err(error) = leave_stamp(node, settings) {
        deviation.get_or_insert(host::error::chain(&error));
    }
    Outcome {
        reply,
        note: deviation.map(Note::new),
    }
}

/// Writes the load stamp, if this program runs from the driver's folder in a plugin folder.
///
/// Under an alias it leaves none: the kubelet calls `init` there separately.
fn leave_stamp(node: &Node<'_>, settings: DriverSettings) -> Result<(), host::Error> {
    if !is_installed(&node.program) {
        return Ok(());
    }
    let file =
        FileIdentity::read(&node.program).map_err(host::Error::io("examine", &node.program))?;
    let stamp = LoadStamp {
        program: node.program.clone(),
        file,
        settings,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    // The same mode as for the locks, whose folder is its parent.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&node.stamps)
        .map_err(host::Error::io("make", &node.stamps))?;
    let name = LoadStamp::file_name(parent_id());
    atomic_file::write(&node.stamps, &name, stamp.to_json().as_bytes())
}

fn is_installed(program: &Path) -> bool {
    program.ends_with(Path::new(flexvolume::FOLDER).join(flexvolume::NAME))
}

#[cfg(test)]
mod tests {
    use super::init;
    use crate::callouts::reply::Reply;
    use crate::volume::context::Node;
    use flexvolume::load_stamp::{FileIdentity, LoadStamp};
    use flexvolume::settings::DriverSettings;
    use host::System;
    use std::fs;
    use std::os::unix::process::parent_id;
    use std::path::Path;

    /// Returns a node whose driver is the file `name` in the plugin folder `folder`/exec.
    fn with_program<'a>(system: &'a System, folder: &Path, name: &str) -> Node<'a> {
        let mut node = Node::current(system);
        node.stamps = folder.join("run/loaded");
        node.program = folder.join("exec").join(name);
        fs::create_dir_all(node.program.parent().unwrap()).unwrap();
        fs::write(&node.program, "driver").unwrap();
        node
    }

    #[test]
    fn init_leaves_the_stamp_of_its_caller() {
        let system = System::current();
        let folder = tempfile::tempdir().unwrap();
        let node = with_program(&system, folder.path(), "flexlvm.dev~lvm/lvm");
        let settings = DriverSettings {
            attach: true,
            node: Some("node1".to_owned()),
        };
        let outcome = init(&node, Ok(settings.clone()));
        assert_eq!(outcome, Reply::Capabilities { attach: true }.into());
        let path = node.stamps.join(LoadStamp::file_name(parent_id()));
        let stamp = LoadStamp::parse(&fs::read(path).unwrap()).unwrap();
        assert_eq!(stamp.settings, settings);
        assert_eq!(stamp.file, FileIdentity::read(&node.program).unwrap());
        assert_eq!(stamp.program, node.program);
    }

    #[test]
    fn only_the_installed_driver_leaves_a_stamp() {
        let system = System::current();
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "kubernetes.io~lvm/lvm",
            "flexlvm.dev~lvm/lvm (deleted)",
            "flexlvm-driver",
        ] {
            let node = with_program(&system, folder.path(), name);
            assert_eq!(init(&node, Ok(DriverSettings::default())).note, None);
            assert!(!node.stamps.exists(), "{name}");
        }
    }

    #[test]
    fn init_succeeds_without_a_stamp() {
        let system = System::current();
        let folder = tempfile::tempdir().unwrap();
        let node = with_program(&system, folder.path(), "flexlvm.dev~lvm/lvm");
        fs::write(folder.path().join("run"), "in the way").unwrap();
        let outcome = init(&node, Ok(DriverSettings::default()));
        assert_eq!(outcome.reply, Reply::Capabilities { attach: false });
        assert!(outcome.note.unwrap().to_string().contains("run/loaded"));
    }
}
