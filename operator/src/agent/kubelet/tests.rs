//! Finding the kubelet and its plugin folder, in a node's folders that a test writes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::process::{self, KubeletProcess};
use super::{DEFAULT_PLUGIN_DIR, plugin_dir};

/// A node: its `/proc`, and the root folder of its PID 1.
struct FakeNode {
    folder: TempDir,
}

impl FakeNode {
    fn new() -> Self {
        let node = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        node.process(1, "systemd", &["/sbin/init"]);
        fs::create_dir_all(node.root()).unwrap();
        symlink(node.root(), node.proc().join("1/root")).unwrap();
        node
    }

    fn proc(&self) -> PathBuf {
        self.folder.path().join("proc")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Adds a child of PID 1 in the node's namespaces.
    fn process(&self, pid: u32, name: &str, words: &[&str]) -> PathBuf {
        let folder = self.proc().join(pid.to_string());
        fs::create_dir_all(folder.join("ns")).unwrap();
        fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
        fs::write(folder.join("cmdline"), words.join("\0") + "\0").unwrap();
        fs::write(
            folder.join("status"),
            format!("Name:\t{name}\nPPid:\t1\nNSpid:\t{pid}\n"),
        )
        .unwrap();
        symlink("mnt:[1]", folder.join("ns/mnt")).unwrap();
        symlink("/", folder.join("cwd")).unwrap();
        folder
    }

    /// Adds a file to the node.
    fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn find(&self) -> Option<KubeletProcess> {
        process::find(&self.proc()).unwrap()
    }

    /// Returns the plugin folder of a kubelet with these arguments.
    fn plugin_dir_of(&self, arguments: &str) -> PathBuf {
        let words: Vec<&str> = std::iter::once("kubelet")
            .chain(arguments.split_whitespace())
            .collect();
        let _ = fs::remove_dir_all(self.proc().join("812"));
        self.process(812, "kubelet", &words);
        plugin_dir(&self.find().unwrap()).unwrap()
    }
}

fn replace(folder: &Path, link: &str, target: &str) {
    fs::remove_file(folder.join(link)).unwrap();
    symlink(target, folder.join(link)).unwrap();
}

#[test]
fn kubelet_is_found_by_its_program() {
    for (name, words) in [
        ("kubelet", &["/usr/bin/kubelet", "--v=2"][..]),
        ("hyperkube", &["/hyperkube", "kubelet", "--v=2"]),
        ("k3s-server", &["/usr/local/bin/k3s server"]),
        ("k3s", &["k3s", "agent", "--server=x"]),
        ("kubelite", &["/snap/microk8s/1/kubelite"]),
        ("microshift", &["microshift", "run"]),
    ] {
        let node = FakeNode::new();
        node.process(812, name, words);
        let found = node.find().unwrap();
        assert_eq!(
            (found.pid, found.root),
            (812, node.proc().join("1/root")),
            "{name}"
        );
    }
}

#[test]
fn other_programs_are_no_kubelet() {
    let node = FakeNode::new();
    node.process(2, "kubelet-exporter", &["kubelet-exporter"]);
    node.process(3, "hyperkube", &["/hyperkube", "kube-proxy"]);
    node.process(4, "k3s-server", &["k3s", "kubectl", "get", "nodes"]);
    node.process(5, "microshift", &["microshift", "version"]);
    node.process(6, "bash", &["bash", "-c", "kubelet --v=2"]);
    assert_eq!(node.find(), None);
}

#[test]
fn kubelet_of_a_container_belongs_to_another_node() {
    let node = FakeNode::new();
    let of_kind = node.process(500, "kubelet", &["kubelet"]);
    fs::write(of_kind.join("status"), "PPid:\t400\nNSpid:\t500\t60\n").unwrap();
    assert_eq!(node.find(), None);
    node.process(812, "kubelet", &["kubelet"]);
    assert_eq!(node.find().unwrap().pid, 812);
}

#[test]
fn kubelet_with_mounts_of_its_own_is_found_with_its_root() {
    let node = FakeNode::new();
    let contained = node.process(500, "kubelet", &["kubelet"]);
    replace(&contained, "ns/mnt", "mnt:[2]");
    let found = node.find().unwrap();
    assert_eq!(found.root, node.proc().join("500/root"));
    // That of the node comes first.
    node.process(812, "kubelet", &["kubelet"]);
    assert_eq!(node.find().unwrap().pid, 812);
}

#[test]
fn child_of_the_kubelet_is_not_the_kubelet() {
    let node = FakeNode::new();
    node.process(812, "kubelet", &["kubelet"]);
    let child = node.process(300, "kubelet", &["kubelet"]);
    fs::write(child.join("status"), "PPid:\t812\nNSpid:\t300\n").unwrap();
    assert_eq!(node.find().unwrap().pid, 812);
}

#[test]
fn process_that_ends_meanwhile_is_skipped() {
    let node = FakeNode::new();
    let gone = node.process(500, "kubelet", &["kubelet"]);
    fs::remove_file(gone.join("status")).unwrap();
    node.process(812, "kubelet", &["kubelet"]);
    assert_eq!(node.find().unwrap().pid, 812);
}

#[test]
fn flag_has_precedence_over_configuration() {
    let node = FakeNode::new();
    node.file("/etc/k.yaml", "volumePluginDir: /from/file\n");
    for (arguments, folder) in [
        ("", DEFAULT_PLUGIN_DIR),
        ("--config=/etc/k.yaml", "/from/file"),
        ("--config=/etc/k.yaml --volume-plugin-dir=/flag", "/flag"),
        ("--config=/etc/k.yaml --volume-plugin-dir=", "/from/file"),
        ("--volume-plugin-dir=relative", "/relative"),
    ] {
        assert_eq!(
            node.plugin_dir_of(arguments),
            Path::new(folder),
            "{arguments}"
        );
    }
}

/// The overlays in `config` name the same folders.
#[test]
fn folders_of_distributions_are_found() {
    let node = FakeNode::new();
    let k0s = "/var/lib/k0s/kubelet-config.yaml";
    let folder_of_k0s = "/usr/libexec/k0s/kubelet-plugins/volume/exec";
    let openshift = "/etc/kubernetes/kubelet-plugins/volume/exec";
    let rke2 = "/var/lib/kubelet/volumeplugins";
    node.file(k0s, &format!("volumePluginDir: {folder_of_k0s}\n"));
    node.file("/etc/kubernetes/kubelet.conf", "cgroupDriver: systemd\n");
    for (arguments, folder) in [
        (
            format!("--root-dir=/var/lib/k0s/kubelet --config={k0s} --v=1"),
            folder_of_k0s,
        ),
        (
            format!("--config=/etc/kubernetes/kubelet.conf --volume-plugin-dir={openshift}"),
            openshift,
        ),
        (
            format!("--volume-plugin-dir={rke2} --file-check-frequency=5s --sync-frequency=30s"),
            rke2,
        ),
    ] {
        assert_eq!(node.plugin_dir_of(&arguments), Path::new(folder));
        let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let named = ["k0s", "openshift", "rke2"].iter().any(|distribution| {
            let overlay = overlays.join(distribution).join("component/agent.yaml");
            let text = fs::read_to_string(overlay).unwrap();
            text.contains(&format!("value: {folder}\n"))
        });
        assert!(named, "{folder}");
    }
}

#[test]
fn configuration_is_yaml_or_json() {
    let node = FakeNode::new();
    for (text, folder) in [
        ("volumePluginDir: \"/a b\"\nfailSwapOn: false\n", "/a b"),
        (
            "kind: KubeletConfiguration\nfeatureGates: {a: true}\nvolumePluginDir: /x",
            "/x",
        ),
        (
            r#"{"kind": "KubeletConfiguration", "volumePluginDir": "/x", "tlsMinVersion": null}"#,
            "/x",
        ),
        ("volumePluginDir: plugins", "/etc/plugins"),
        ("volumePluginDir: ''", DEFAULT_PLUGIN_DIR),
        ("volumePluginDir:", DEFAULT_PLUGIN_DIR),
        ("kind: KubeletConfiguration", DEFAULT_PLUGIN_DIR),
    ] {
        node.file("/etc/k.yaml", text);
        assert_eq!(
            node.plugin_dir_of("--config /etc/k.yaml"),
            Path::new(folder),
            "{text}"
        );
    }
}

#[test]
fn drop_in_files_are_merged_in_order() {
    let node = FakeNode::new();
    node.file("/etc/k.yaml", "volumePluginDir: /from/file\n");
    let arguments = "--config=/etc/k.yaml --config-dir=/etc/k.d";
    node.file("/etc/k.d/50-other.conf", "maxPods: 200\n");
    assert_eq!(node.plugin_dir_of(arguments), Path::new("/from/file"));
    node.file("/etc/k.d/10-a.conf", "volumePluginDir: /ten\n");
    node.file("/etc/k.d/9-b.conf", "volumePluginDir: /nine\n");
    node.file("/etc/k.d/99.yaml", "volumePluginDir: /ignored\n");
    assert_eq!(node.plugin_dir_of(arguments), Path::new("/nine"));
    node.file("/etc/k.d/95-folder/c.conf", "volumePluginDir: /below\n");
    assert_eq!(node.plugin_dir_of(arguments), Path::new("/below"));
    node.file("/etc/k.d/99-z.conf", "volumePluginDir: null\n");
    assert_eq!(node.plugin_dir_of(arguments), Path::new(DEFAULT_PLUGIN_DIR));
}

#[test]
fn links_lead_to_places_of_the_node() {
    let node = FakeNode::new();
    node.file("/store/k.yaml", "volumePluginDir: /from/store\n");
    fs::create_dir_all(node.root().join("etc")).unwrap();
    symlink("/store/k.yaml", node.root().join("etc/k.yaml")).unwrap();
    assert_eq!(
        node.plugin_dir_of("--config=/etc/k.yaml"),
        Path::new("/from/store")
    );
}

#[test]
fn unreadable_configuration_is_an_error() {
    let node = FakeNode::new();
    node.process(812, "kubelet", &["kubelet", "--config=/etc/k.yaml"]);
    let error = || host::error::chain(&plugin_dir(&node.find().unwrap()).unwrap_err());
    assert!(error().starts_with("read /etc/k.yaml: "), "{}", error());
    node.file("/etc/k.yaml", "volumePluginDir: {\n");
    assert!(
        error().contains("/etc/k.yaml can't be parsed"),
        "{}",
        error()
    );
}

#[test]
fn k3s_passes_flags_of_its_configuration() {
    let node = FakeNode::new();
    node.process(812, "k3s-server", &["/usr/local/bin/k3s server"]);
    let folder = || plugin_dir(&node.find().unwrap()).unwrap();
    assert_eq!(folder(), Path::new(DEFAULT_PLUGIN_DIR));
    let drop_in = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-own.conf";
    node.file(drop_in, "volumePluginDir: /drop-in\n");
    assert_eq!(folder(), Path::new("/drop-in"));
    node.file(
        "/etc/rancher/k3s/config.yaml",
        "token: secret\nkubelet-arg: volume-plugin-dir=/one\n",
    );
    assert_eq!(folder(), Path::new("/one"));
    node.file(
        "/etc/rancher/k3s/config.yaml.d/more.yaml",
        "kubelet-arg+:\n- v=2\n- volume-plugin-dir=/more\n",
    );
    assert_eq!(folder(), Path::new("/more"));
}

#[test]
fn visible_arguments_of_k3s_count_last() {
    let node = FakeNode::new();
    let words = ["k3s", "agent", "--kubelet-arg=volume-plugin-dir=/argument"];
    node.process(812, "k3s", &words);
    assert_eq!(
        plugin_dir(&node.find().unwrap()).unwrap(),
        Path::new("/argument")
    );
}

#[test]
fn microk8s_and_microshift_have_files_of_their_own() {
    let node = FakeNode::new();
    let file = "/var/snap/microk8s/1/args/kubelet";
    let line = format!("--kubelet-args-file={file}");
    node.process(812, "kubelite", &["kubelite", &line]);
    node.file(
        file,
        "--v=2\n# --volume-plugin-dir=/no\n--volume-plugin-dir=\"/yes\"\n",
    );
    let found = || plugin_dir(&node.find().unwrap());
    assert_eq!(found().unwrap(), Path::new("/yes"));
    node.file(file, "--volume-plugin-dir=${SNAP_DATA}/plugins\n");
    assert!(found().unwrap_err().to_string().contains("--plugin-dir"));

    let node = FakeNode::new();
    node.process(812, "microshift", &["microshift", "run"]);
    node.file(
        "/var/lib/microshift/resources/kubelet/config/config.yaml",
        "volumePluginDir: /var/lib/microshift/kubelet-plugins/volume/exec\n",
    );
    assert_eq!(
        plugin_dir(&node.find().unwrap()).unwrap(),
        Path::new("/var/lib/microshift/kubelet-plugins/volume/exec")
    );
}
