//! The fixture: a guest with a volume group, logical volumes as the agent creates them, and the
//! driver called as the kubelet calls it.

mod volume;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result};
use flexvolume::VolumeOptions;
use harness::guest::{Guest, Hardware};
use harness::network;
use harness::remote::{Call, Output};
use harness::workplace::Workplace;
use host::{Bytes, Key, LvName, VgName};
use serde_json::Value;

pub(crate) use volume::Volume;

/// Path of this program in a guest.
const PROGRAM: &str = "/.host/run/flexlvm/program";

pub(crate) const GROUP: &str = "vg-0";

/// The node's name that the driver gets.
pub(crate) const NODE: &str = "node-1";

/// The key of all volumes.
const KEY: &str = "00000000000000000000000000000000";

/// Folder of the programs that [`Fixture::replace`] keeps, under their own names: mke2fs depends on
/// its name.
pub(crate) const KEPT: &str = "/var/kept";

/// The shared guest.
pub(crate) struct Fixture {
    workplace: Workplace,
    guest: Mutex<Guest>,
    driver: String,
    next: AtomicU32,
}

impl Fixture {
    /// Returns the guest that all tests share; the first call starts it.
    pub(crate) fn get() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(|| Self::start().expect("a guest can be started"))
    }

    fn start() -> Result<Self> {
        let workplace = Workplace::isolated()?;
        network::create()?;
        // The small disks serve tests that break a volume group.
        let hardware = Hardware {
            disks_mib: vec![65536, 64, 64],
            ..Hardware::default()
        };
        let mut guest = Guest::create(&workplace, 1, &hardware)?;
        guest.wait_until_up()?;
        guest.shell(&format!("vgcreate {GROUP} /dev/ubdb"))?;
        Ok(Self {
            workplace,
            guest: Mutex::new(guest),
            driver: driver_binary()?,
            next: AtomicU32::new(1),
        })
    }

    fn guest(&self) -> MutexGuard<'_, Guest> {
        self.guest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a shell script, which must succeed.
    pub(crate) fn shell(&self, script: &str) -> String {
        let output = self.run(["sh", "-ec", script].into_iter());
        assert_eq!(
            output.status, 0,
            "`{script}`:\n{}{}",
            output.stdout, output.stderr
        );
        output.stdout.trim_end().to_owned()
    }

    /// Executes an operation of the guest's server, which must succeed.
    pub(crate) fn serve(&self, arguments: &[&str]) -> String {
        let output = self.output(&Call::service(arguments.iter().copied()));
        assert_eq!(output.status, 0, "{arguments:?}: {}", output.stderr);
        output.stdout
    }

    fn run<'a>(&self, arguments: impl Iterator<Item = &'a str>) -> Output {
        self.output(&Call::new(arguments))
    }

    fn output(&self, call: &Call) -> Output {
        let remote = self.guest().remote();
        // A busy guest may accept a call late; an accepted call is never repeated.
        let mut tries = 30;
        loop {
            match remote.output(call) {
                Err(error) if tries > 0 && error.to_string().contains("does not answer") => {
                    tries -= 1;
                }
                result => return result.expect("the guest answers"),
            }
        }
    }

    /// Cuts the power and boots again.
    pub(crate) fn power_cut(&self) {
        let mut guest = self.guest();
        guest.cut_power().expect("the power can be cut");
        guest
            .power_on(&self.workplace)
            .expect("the guest starts again");
        guest.wait_until_up().expect("the guest is up again");
    }

    /// Creates a logical volume as lvcreate does: without tags and without a format marker.
    ///
    /// Old content of the disk is its content.
    pub(crate) fn untagged_volume(&self, fs: &'static str, size_mib: u64) -> Volume {
        self.make_volume(fs, size_mib, &[])
    }

    /// Creates a claim's logical volume without a format marker.
    pub(crate) fn bare_volume(&self, fs: &'static str, size_mib: u64) -> Volume {
        self.make_volume(
            fs,
            size_mib,
            &["--addtag", &Key::new(KEY).unwrap().digest().tag()],
        )
    }

    fn make_volume(&self, fs: &'static str, size_mib: u64, tags: &[&str]) -> Volume {
        let name = format!("pvc-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let size = format!("{size_mib}M");
        let uuid = self.serve(&[&["lvcreate", GROUP, &name, "-L", &size], tags].concat());
        let options = VolumeOptions {
            group: VgName::new(GROUP).unwrap(),
            volume: LvName::new(name).unwrap(),
            uuid: host::LvUuid::new(uuid).unwrap(),
            key: Key::new(KEY).unwrap(),
            size: Bytes(size_mib << 20),
            mkfs: Vec::new(),
            mount: Vec::new(),
            fsck: flexvolume::Fsck::Auto,
        };
        Volume { options, fs }
    }

    /// Creates a logical volume as the agent does: with a format marker, and with the digest of its
    /// key in the driver's folder.
    pub(crate) fn unformatted_volume(&self, fs: &'static str, size_mib: u64) -> Volume {
        let volume = self.bare_volume(fs, size_mib);
        self.write_key_digest(&volume);
        self.mark(&volume, "unformatted");
        volume
    }

    /// Creates an inactive logical volume that has a file system with a file.
    pub(crate) fn used_volume(&self, fs: &'static str) -> Volume {
        let volume = self.unformatted_volume(fs, crate::smallest(fs));
        let folder = self.folder_for_all(&volume);
        let json = volume.json("rw");
        self.succeeds(&["mountdevice", &folder, "", &json]);
        self.shell(&format!("echo hello >{folder}/file"));
        self.succeeds(&["unmountdevice", &folder]);
        self.deactivate(&volume);
        volume
    }

    /// Writes the digest of a volume's key to the driver's folder, as the agent does.
    pub(crate) fn write_key_digest(&self, volume: &Volume) {
        let tag = volume.options.key.digest().tag();
        let digest = tag.strip_prefix(host::lvm::tags::CLAIM_KEY).unwrap();
        self.serve(&[
            "write",
            &format!("/run/flexlvm/keys/{}", volume.options.uuid),
            digest,
        ]);
    }

    /// Writes or reads a format marker, after dropping the cached pages of the device.
    pub(crate) fn mark(&self, volume: &Volume, verb: &str) -> String {
        let VolumeOptions {
            group,
            volume,
            size,
            ..
        } = &volume.options;
        self.serve(&[
            "mark",
            group.as_str(),
            volume.as_str(),
            &size.0.to_string(),
            verb,
        ])
    }

    /// Runs this program in the guest, which must succeed.
    pub(crate) fn program(&self, arguments: &[&str]) -> String {
        let output = self.run(std::iter::once(PROGRAM).chain(arguments.iter().copied()));
        assert_eq!(
            output.status, 0,
            "{arguments:?}:\n{}{}",
            output.stdout, output.stderr
        );
        output.stdout.trim_end().to_owned()
    }

    /// Calls the driver and checks that its answer is one JSON value.
    pub(crate) fn call(&self, args: &[&str]) -> Value {
        let arguments = std::iter::once(self.driver.as_str()).chain(args.iter().copied());
        let output = self.run(arguments);
        assert_eq!((output.status, output.stderr.as_str()), (0, ""));
        serde_json::from_str(&output.stdout).expect("one JSON value")
    }

    /// The path of the driver, for scripts.
    pub(crate) fn driver(&self) -> &str {
        &self.driver
    }

    /// Calls the driver, which must succeed.
    pub(crate) fn succeeds(&self, args: &[&str]) {
        let reply = self.call(args);
        assert_eq!(reply["status"], "Success", "{args:?}: {reply}");
    }

    /// Calls the driver, which must fail with these phrases in its message.
    pub(crate) fn fails(&self, args: &[&str], phrases: &[&str]) {
        let reply = self.call(args);
        assert_eq!(reply["status"], "Failure", "{args:?}: {reply}");
        let message = reply["message"].as_str().unwrap();
        for phrase in phrases {
            assert!(
                message.contains(phrase),
                "{phrase:?} is missing in {message:?}"
            );
        }
    }

    /// Makes calls of the driver at the same time, each a shell command; all must succeed.
    pub(crate) fn all_succeed_at_once(&self, calls: impl Iterator<Item = String>) {
        let calls: Vec<String> = calls.collect();
        let replies = self.shell(&format!("({} & wait)", calls.join(" & ")));
        assert_eq!(
            replies.matches(r#"{"status":"Success"}"#).count(),
            calls.len(),
            "{replies}"
        );
    }

    /// Switches the driver to attach mode until the returned value is dropped.
    pub(crate) fn attaching(&self) -> Attaching<'_> {
        let settings = flexvolume::DriverSettings {
            attach: true,
            node: Some(NODE.to_owned()),
        };
        let json = settings.to_json();
        self.shell(&format!(
            "mkdir -p /var/lib/flexlvm; echo '{}' >{}; sync",
            json.trim(),
            flexvolume::settings::PATH
        ));
        Attaching(self)
    }

    /// Returns the mount options of a folder's mount, without those of the file system.
    pub(crate) fn mount_options(&self, folder: &str) -> String {
        self.shell(&format!("findmnt -no VFS-OPTIONS {folder}"))
    }

    /// Returns the size of a folder's file system in MiB.
    pub(crate) fn size_in_mib(&self, folder: &str) -> u64 {
        let size = self.shell(&format!("df --output=size -m {folder} | tail -1"));
        size.trim().parse().expect("a number")
    }

    /// Creates the folder for all pods, as the kubelet does.
    pub(crate) fn folder_for_all(&self, volume: &Volume) -> String {
        let name = &volume.options.volume;
        let folder = format!(
            "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/{name}"
        );
        self.serve(&["folder", &folder]);
        folder
    }

    /// Returns true if the volume's device exists.
    pub(crate) fn is_active(&self, volume: &Volume) -> bool {
        self.serve(&["exists", &volume.mapper()]) == "true"
    }

    /// Deactivates the volume.
    pub(crate) fn deactivate(&self, volume: &Volume) {
        self.shell(&format!("lvchange -qq -an {}", volume.path()));
    }

    /// Creates the folder of a pod for the volume, as the kubelet does.
    pub(crate) fn folder(&self, pod: &str, volume: &Volume) -> String {
        let name = &volume.options.volume;
        let folder = format!("/var/lib/kubelet/pods/{pod}/volumes/flexlvm.dev~lvm/{name}");
        self.serve(&["folder", &folder]);
        folder
    }

    /// Mounts for a pod and returns the folder.
    pub(crate) fn mount(&self, pod: &str, volume: &Volume) -> String {
        let folder = self.folder(pod, volume);
        self.succeeds(&["mount", &folder, &volume.json("rw")]);
        folder
    }

    /// Returns the number of mounts on a folder.
    pub(crate) fn mounts(&self, folder: &str) -> usize {
        self.serve(&["read", "/proc/self/mountinfo"])
            .matches(&format!(" {folder} "))
            .count()
    }

    /// Returns a checksum of the whole device.
    pub(crate) fn checksum(&self, volume: &Volume) -> String {
        self.serve(&["checksum", &volume.device()])
    }

    /// Writes bytes, in printf's notation, to the device.
    pub(crate) fn poke(&self, volume: &Volume, bytes: &str, at: u64) {
        self.shell(&format!(
            "printf '{bytes}' | dd of={} bs=1 seek={at} conv=notrunc 2>&1",
            volume.device()
        ));
    }

    /// Replaces a program of the host, in the guest only, until [`Self::undo`].
    pub(crate) fn replace(&self, program: &str, script: &str) {
        self.serve(&["replace", program, script]);
    }

    /// Undoes [`Self::replace`].
    pub(crate) fn undo(&self, program: &str) {
        self.serve(&["undo", program]);
    }
}

/// Attach mode; dropping it ends the mode.
pub(crate) struct Attaching<'a>(&'a Fixture);

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        self.0
            .shell(&format!("rm -f {}", flexvolume::settings::PATH));
    }
}

/// Built together with this program: `<target>/debug/flexlvm-driver` next to
/// `<target>/debug/deps/<this>`.
fn driver_binary() -> Result<String> {
    let path = std::env::var_os("FLEXLVM_DRIVER")
        .map(PathBuf::from)
        .or_else(|| {
            Some(
                std::env::current_exe()
                    .ok()?
                    .ancestors()
                    .nth(2)?
                    .join("flexlvm-driver"),
            )
        })
        .context("cannot locate the driver")?;
    anyhow::ensure!(
        path.is_file(),
        "{} is missing: run `cargo build -p driver`",
        path.display()
    );
    Ok(path.display().to_string())
}
