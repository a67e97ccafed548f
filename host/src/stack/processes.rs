//! Finds what the node's processes use of some mounts: by cgroups and mount namespaces.

use crate::block::dev_num::DevNum;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::Error;
use crate::mount::mountinfo::{self, Mount};

/// What the node's processes use of the given pods and devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountHolders {
    /// Pods that have a process, even if only the pause process.
    pub pods: BTreeSet<String>,
    /// Mounts of the devices in all mount namespaces except the node's own.
    pub mounts: Vec<Mount>,
}

/// Scans the node's `/proc` for what processes use of these pods and devices.
///
/// # Errors
/// If a process exists and can't be examined: then what it uses is unknown.
pub fn find(
    proc: &Path,
    pods: &BTreeSet<String>,
    devices: &BTreeSet<DevNum>,
) -> Result<MountHolders, Error> {
    let mut seen = MountHolders::default();
    // Mount namespaces to skip: the node's own is the source of the candidates.
    let mut namespaces = BTreeSet::from([namespace(proc, "1")?]);
    for process in fs::read_dir(proc).map_err(Error::io("read", proc))? {
        let name = process.map_err(Error::io("read", proc))?.file_name();
        let Some(process) = name
            .to_str()
            .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let folder = proc.join(process);
        if let Some(groups) = read(&folder.join("cgroup"))? {
            let named = pods.iter().filter(|pod| names_pod(&groups, pod));
            seen.pods.extend(named.cloned());
        }
        let namespace = namespace(proc, process)?;
        if namespace.is_none() || !namespaces.insert(namespace) {
            continue;
        }
        let path = folder.join("mountinfo");
        let Some(table) = read(&path)? else { continue };
        let mounts = mountinfo::parse(table.as_bytes()).map_err(|_| {
            Error::failed(format!(
                "{} has a line that can't be parsed",
                path.display()
            ))
        })?;
        seen.mounts.extend(
            mounts
                .into_iter()
                .filter(|mount| devices.contains(&mount.device)),
        );
    }
    Ok(seen)
}

/// Returns whether a process with these cgroups belongs to the pod.
///
/// Their names contain `/pod<uid>/`, or with the systemd cgroup driver `-pod<uid>.slice/` with `_`
/// instead of `-` in the uid.
fn names_pod(cgroups: &str, uid: &str) -> bool {
    [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))]
        .iter()
        .any(|name| cgroups.contains(name.as_str()))
}

/// Returns the mount namespace of a process; `None` if it has exited.
fn namespace(proc: &Path, process: &str) -> Result<Option<OsString>, Error> {
    let path: PathBuf = proc.join(process).join("ns/mnt");
    match fs::read_link(&path) {
        Ok(link) => Ok(Some(link.into_os_string())),
        Err(error) if has_ended(&error) => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// Returns a file of a process; `None` if the process has exited.
fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if has_ended(&error) => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Returns whether the error means that the process has exited; a zombie's mount table returns
/// `EINVAL`.
fn has_ended(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || [Errno::SRCH, Errno::INVAL]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::{MountHolders, find, names_pod};
    use crate::block::dev_num::DevNum;
    use crate::error::Error;
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const UID: &str = "0f0e-1";

    fn process(proc: &Path, id: &str, namespace: &str, cgroup: &str, mounts: &str) {
        let folder = proc.join(id);
        fs::create_dir_all(folder.join("ns")).unwrap();
        symlink(namespace, folder.join("ns/mnt")).unwrap();
        fs::write(folder.join("cgroup"), cgroup).unwrap();
        fs::write(folder.join("mountinfo"), mounts).unwrap();
    }

    fn look(proc: &Path) -> Result<MountHolders, Error> {
        find(
            proc,
            &BTreeSet::from([UID.to_owned()]),
            &BTreeSet::from([DevNum::new(254, 3)]),
        )
    }

    #[test]
    fn each_namespace_except_the_nodes_is_scanned_once() {
        let proc = tempfile::tempdir().unwrap();
        let line = "36 35 254:3 / /data rw - ext4 /dev/mapper/a rw\n37 35 254:4 / /other rw - ext4 /dev/mapper/b rw\n";
        process(proc.path(), "1", "mnt:[1]", "0::/init\n", line);
        process(proc.path(), "20", "mnt:[2]", "0::/kubepods/pod7/x\n", line);
        process(proc.path(), "21", "mnt:[2]", "0::/kubepods/pod7/x\n", line);
        fs::create_dir(proc.path().join("22")).unwrap(); // exits during the scan
        fs::create_dir(proc.path().join("sys")).unwrap();
        let seen = look(proc.path()).unwrap();
        assert_eq!(seen.mounts.len(), 1);
        assert_eq!(seen.mounts[0].point, Path::new("/data"));
        assert!(seen.pods.is_empty());
    }

    #[test]
    fn pod_is_identified_by_cgroups() {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), "1", "mnt:[1]", "0::/init\n", "");
        process(
            proc.path(),
            "20",
            "mnt:[1]",
            &format!("0::/kubepods/besteffort/pod{UID}/x\n"),
            "",
        );
        assert!(look(proc.path()).unwrap().pods.contains(UID));
        assert!(names_pod(
            "1:cpu:/kubepods.slice/kubepods-pod0f0e_1.slice/cri-containerd-a.scope\n",
            UID
        ));
        assert!(names_pod("0::/../pod0f0e-1/x\n", UID));
        assert!(!names_pod("0::/kubepods/pod0f0e-2/x\n", UID));
    }

    #[test]
    fn unreadable_process_is_an_error() {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), "1", "mnt:[1]", "", "");
        process(proc.path(), "20", "mnt:[2]", "", "nonsense\n");
        assert!(look(proc.path()).is_err());
        assert!(look(Path::new("/nowhere")).is_err());
    }
}
