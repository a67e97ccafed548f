//! The krew manifest of the kubectl plugin, against krew's own rules (its packages `validation` and
//! `validate-krew-manifest`).

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::run;

/// Systems and processors of the plugin's archives.
const PLATFORMS: [(&str, &str); 4] = [
    ("darwin", "amd64"),
    ("darwin", "arm64"),
    ("linux", "amd64"),
    ("linux", "arm64"),
];

/// Writes an archive of each platform, with different contents.
fn write_archives(folder: &Path) {
    for (os, arch) in PLATFORMS {
        let version = env!("CARGO_PKG_VERSION");
        let name = format!("kubectl-flexlvm-{version}-{os}-{arch}.tar.gz");
        std::fs::write(folder.join(name), format!("{os} {arch}\n")).unwrap();
    }
}

#[test]
fn krew_manifest_satisfies_the_rules_of_krew() {
    let folder = tempfile::tempdir().unwrap();
    write_archives(folder.path());
    let text = run("krew", &[folder.path().to_str().unwrap()]).unwrap();
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    let fields = |value: &Value| {
        let map = value.as_object().unwrap();
        map.keys().cloned().collect::<Vec<_>>()
    };
    // krew rejects unknown fields.
    assert_eq!(
        fields(&manifest),
        ["apiVersion", "kind", "metadata", "spec"]
    );
    assert_eq!(
        manifest["apiVersion"],
        "krew.googlecontainertools.github.com/v1alpha2"
    );
    assert_eq!(manifest["kind"], "Plugin");
    assert_eq!(manifest["metadata"]["name"], "flexlvm");
    let spec = &manifest["spec"];
    let known = [
        "caveats",
        "description",
        "homepage",
        "platforms",
        "shortDescription",
        "version",
    ];
    assert_eq!(fields(spec), known);
    assert_eq!(spec["version"], format!("v{}", env!("CARGO_PKG_VERSION")));
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(!short.is_empty() && !short.contains(['\r', '\n']));
    // By the naming guide of the index: at most 50 characters, and no full stop.
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");

    let mut platforms = BTreeSet::new();
    let mut sums = BTreeSet::new();
    for platform in spec["platforms"].as_array().unwrap() {
        assert_eq!(
            fields(platform),
            ["bin", "files", "selector", "sha256", "uri"]
        );
        let labels = &platform["selector"]["matchLabels"];
        assert_eq!(fields(labels), ["arch", "os"]);
        let (os, arch) = (labels["os"].as_str(), labels["arch"].as_str());
        assert!(platforms.insert((os.unwrap(), arch.unwrap())), "{labels}");
        let sum = platform["sha256"].as_str().unwrap();
        assert!(sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()));
        sums.insert(sum);
        let uri = platform["uri"].as_str().unwrap();
        let end = format!("-{}-{}.tar.gz", os.unwrap(), arch.unwrap());
        assert!(uri.starts_with("https://") && uri.ends_with(&end), "{uri}");
        assert_eq!(platform["bin"], "kubectl-flexlvm");
        let files = platform["files"].as_array().unwrap();
        let from: Vec<&Value> = files.iter().map(|file| &file["from"]).collect();
        assert_eq!(from, ["kubectl-flexlvm", "LICENSE"]);
        assert!(files.iter().all(|file| file["to"] == "."));
    }
    assert_eq!(platforms, BTreeSet::from(PLATFORMS));
    assert_eq!(sums.len(), PLATFORMS.len());
    // As computed by sha256sum of `linux amd64` and an end of line.
    let sum = "f95b79211d6753a350b0bcc527b8b5f33ac9ed74284d9359b107f8c2769710d2";
    assert!(sums.contains(sum));
}

#[test]
fn krew_manifest_needs_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let error = run("krew", &[folder.path().to_str().unwrap()]).unwrap_err();
    assert!(error.contains("-OS-ARCH.tar.gz"), "{error}");
}
