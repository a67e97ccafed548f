//! One guest with a volume group, logical volumes as the agent makes them, and the driver called as
//! the kubelet calls it.

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

/// This program, as a guest sees it.
const PROGRAM: &str = "/.host/run/flexlvm/program";

pub(crate) const GROUP: &str = "vg-0";

/// The node's name, as the driver is told it.
pub(crate) const NODE: &str = "node-1";

/// The key to all volumes.
const KEY: &str = "00000000000000000000000000000000";

/// Where [`Stage::replace`] keeps programs, under their own names: mke2fs goes by its name.
pub(crate) const KEPT: &str = "/var/kept";

/// The guest.
pub(crate) struct Stage {
    workplace: Workplace,
    guest: Mutex<Guest>,
    driver: String,
    next: AtomicU32,
}

/// A logical volume.
#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) options: VolumeOptions,
    pub(crate) fs: &'static str,
}

impl Stage {
    /// The one guest of all tests, started for the first of them.
    pub(crate) fn get() -> &'static Self {
        static STAGE: OnceLock<Stage> = OnceLock::new();
        STAGE.get_or_init(|| Self::start().expect("a guest can be started"))
    }

    fn start() -> Result<Self> {
        let workplace = Workplace::isolated()?;
        network::create()?;
        // The small ones are for whoever wants to break a volume group.
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

    /// Runs a shell script; it has to succeed.
    pub(crate) fn shell(&self, script: &str) -> String {
        let output = self.run(["sh", "-ec", script].into_iter());
        assert_eq!(
            output.status, 0,
            "`{script}`:\n{}{}",
            output.stdout, output.stderr
        );
        output.stdout.trim_end().to_owned()
    }

    /// Has the guest's server do something itself; that has to succeed.
    pub(crate) fn serve(&self, words: &[&str]) -> String {
        let output = self.output(&Call::service(words.iter().copied()));
        assert_eq!(output.status, 0, "{words:?}: {}", output.stderr);
        output.stdout
    }

    fn run<'a>(&self, arguments: impl Iterator<Item = &'a str>) -> Output {
        self.output(&Call::new(arguments))
    }

    fn output(&self, call: &Call) -> Output {
        let remote = self.guest().remote();
        // A busy guest may be slow to take a call; one that it took is never repeated.
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

    /// A logical volume as lvcreate leaves it: nobody's, without a mark. One that was there before
    /// is its content.
    pub(crate) fn untagged_volume(&self, fs: &'static str, size_mib: u64) -> Volume {
        self.make_volume(fs, size_mib, &[])
    }

    /// A claim's logical volume, without a mark.
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

    /// A logical volume as the agent leaves it: marked as fresh, and the digest of its key known.
    pub(crate) fn fresh_volume(&self, fs: &'static str, size_mib: u64) -> Volume {
        let volume = self.bare_volume(fs, size_mib);
        self.tell_key(&volume);
        self.mark(&volume, "fresh");
        volume
    }

    /// A logical volume with a file system, and a file in it, that is inactive.
    pub(crate) fn used_volume(&self, fs: &'static str) -> Volume {
        let volume = self.fresh_volume(fs, crate::smallest(fs));
        let (folder, json) = (self.folder_for_all(&volume), volume.json("rw"));
        self.succeeds(&["mountdevice", &folder, "", &json]);
        self.shell(&format!("echo hello >{folder}/file"));
        self.succeeds(&["unmountdevice", &folder]);
        self.deactivate(&volume);
        volume
    }

    /// What the agent tells the driver of a volume's key.
    pub(crate) fn tell_key(&self, volume: &Volume) {
        let tag = volume.options.key.digest().tag();
        let digest = tag.strip_prefix(host::lvm::tags::CLAIM_KEY).unwrap();
        self.serve(&[
            "write",
            &format!("/run/flexlvm/keys/{}", volume.options.uuid),
            digest,
        ]);
    }

    /// Writes a mark, or reads it, after what is cached of the device was dropped.
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

    /// Runs this very program in the guest; it has to succeed.
    pub(crate) fn program(&self, arguments: &[&str]) -> String {
        let output = self.run(std::iter::once(PROGRAM).chain(arguments.iter().copied()));
        assert_eq!(
            output.status, 0,
            "{arguments:?}:\n{}{}",
            output.stdout, output.stderr
        );
        output.stdout.trim_end().to_owned()
    }

    /// Calls the driver, and checks that its answer is one.
    pub(crate) fn call(&self, args: &[&str]) -> Value {
        let arguments = std::iter::once(self.driver.as_str()).chain(args.iter().copied());
        let output = self.run(arguments);
        assert_eq!((output.status, output.stderr.as_str()), (0, ""));
        serde_json::from_str(&output.stdout).expect("one JSON value")
    }

    /// The driver, for scripts.
    pub(crate) fn driver(&self) -> &str {
        &self.driver
    }

    /// A call of the driver that succeeds.
    pub(crate) fn succeeds(&self, args: &[&str]) {
        let reply = self.call(args);
        assert_eq!(reply["status"], "Success", "{args:?}: {reply}");
    }

    /// A call of the driver that fails, with these words in its sentence.
    pub(crate) fn fails(&self, args: &[&str], words: &[&str]) {
        let reply = self.call(args);
        assert_eq!(reply["status"], "Failure", "{args:?}: {reply}");
        let message = reply["message"].as_str().unwrap();
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in {message:?}");
        }
    }

    /// Lets the driver attach, for as long as the returned value lives.
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

    /// The folder for all pods, made as the kubelet makes it.
    pub(crate) fn folder_for_all(&self, volume: &Volume) -> String {
        let name = &volume.options.volume;
        let folder = format!(
            "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/{name}"
        );
        self.serve(&["folder", &folder]);
        folder
    }

    /// Whether the volume's device is there.
    pub(crate) fn is_active(&self, volume: &Volume) -> bool {
        self.serve(&["exists", &volume.mapper()]) == "true"
    }

    /// Deactivates the volume.
    pub(crate) fn deactivate(&self, volume: &Volume) {
        self.shell(&format!("lvchange -qq -an {}", volume.path()));
    }

    /// The folder of a pod for the volume, made as the kubelet makes it.
    pub(crate) fn folder(&self, pod: &str, volume: &Volume) -> String {
        let name = &volume.options.volume;
        let folder = format!("/var/lib/kubelet/pods/{pod}/volumes/flexlvm.dev~lvm/{name}");
        self.serve(&["folder", &folder]);
        folder
    }

    /// Mounts for a pod; returns the folder.
    pub(crate) fn mount(&self, pod: &str, volume: &Volume) -> String {
        let folder = self.folder(pod, volume);
        self.succeeds(&["mount", &folder, &volume.json("rw")]);
        folder
    }

    /// How often something is mounted there.
    pub(crate) fn mounts(&self, folder: &str) -> usize {
        self.serve(&["read", "/proc/self/mountinfo"])
            .matches(&format!(" {folder} "))
            .count()
    }

    /// A checksum of the whole device.
    pub(crate) fn checksum(&self, volume: &Volume) -> String {
        self.serve(&["checksum", &volume.device()])
    }

    /// Writes bytes (as printf spells them) to the device.
    pub(crate) fn poke(&self, volume: &Volume, bytes: &str, at: u64) {
        self.shell(&format!(
            "printf '{bytes}' | dd of={} bs=1 seek={at} conv=notrunc 2>&1",
            volume.device()
        ));
    }

    /// Puts another program in the place of one of the host's, in the guest only, until `undo`
    /// runs.
    pub(crate) fn replace(&self, program: &str, script: &str) {
        self.serve(&["replace", program, script]);
    }

    /// Undoes [`Self::replace`].
    pub(crate) fn undo(&self, program: &str) {
        self.serve(&["undo", program]);
    }
}

/// The driver attaches.
pub(crate) struct Attaching<'a>(&'a Stage);

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        self.0
            .shell(&format!("rm -f {}", flexvolume::settings::PATH));
    }
}

impl Volume {
    /// What the kubelet passes.
    pub(crate) fn json(&self, readwrite: &str) -> String {
        self.json_with(readwrite, &[])
    }

    /// What the kubelet passes, with something else; without what has no value.
    pub(crate) fn json_with(&self, readwrite: &str, other: &[(&str, Option<&str>)]) -> String {
        let mut map = self.options.to_map();
        map.insert("kubernetes.io/fsType".to_owned(), self.fs.to_owned());
        map.insert("kubernetes.io/readwrite".to_owned(), readwrite.to_owned());
        map.insert(
            "kubernetes.io/pvOrVolumeName".to_owned(),
            self.options.volume.to_string(),
        );
        for (key, value) in other {
            match value {
                Some(value) => map.insert((*key).to_owned(), (*value).to_owned()),
                None => map.remove(*key),
            };
        }
        serde_json::to_string(&map).unwrap()
    }

    /// Its group and name, for LVM.
    pub(crate) fn path(&self) -> String {
        format!("{GROUP}/{}", self.options.volume)
    }

    /// Its device, by the name that the driver answers.
    pub(crate) fn mapper(&self) -> String {
        format!(
            "/dev/mapper/{}-{}",
            GROUP.replace('-', "--"),
            self.options.volume.as_str().replace('-', "--")
        )
    }

    /// Its device.
    pub(crate) fn device(&self) -> String {
        format!("/dev/{}", self.path())
    }
}

/// Built as this program was: `<target>/debug/flexlvm-driver` beside `<target>/debug/deps/<this>`.
fn driver_binary() -> Result<String> {
    let beside = || {
        Some(
            std::env::current_exe()
                .ok()?
                .ancestors()
                .nth(2)?
                .join("flexlvm-driver"),
        )
    };
    let path = std::env::var_os("FLEXLVM_DRIVER")
        .map(PathBuf::from)
        .or_else(beside)
        .context("where is the driver?")?;
    anyhow::ensure!(
        path.is_file(),
        "{} is missing: `cargo build -p driver` makes it",
        path.display()
    );
    Ok(path.display().to_string())
}
