//! Aliases of the driver: added, removed, and drivers that were installed before.

use std::fs;
use std::path::PathBuf;

use super::{Fixture, OF_ALIAS, POD, Presentation, entries, install, reason};

impl Fixture {
    /// Returns a fixture with the alias of Kubernetes' example script.
    fn with_alias() -> Self {
        Self {
            aliases: vec!["kubernetes.io/lvm".parse().unwrap()],
            ..Self::new()
        }
    }

    fn alias(&self) -> PathBuf {
        self.plugins().join("kubernetes.io~lvm/lvm")
    }

    /// Installs another vendor's driver under the alias.
    fn install_script(&self, content: &str) {
        fs::create_dir_all(self.alias().parent().unwrap()).unwrap();
        fs::write(self.alias(), content).unwrap();
    }
}

#[test]
fn alias_is_installed_in_its_own_folder() {
    let fixture = Fixture::with_alias();
    assert!(fixture.install());
    assert_eq!(fs::read_to_string(fixture.alias()).unwrap(), "version 1");
    assert!(!fixture.install());
    // Upgrade while volumes are mounted.
    fixture.mount(&[OF_ALIAS, POD]);
    fixture.ship("version 2");
    assert!(fixture.install());
    assert_eq!(
        (
            fs::read_to_string(fixture.alias()).unwrap(),
            fixture.content()
        ),
        ("version 2".into(), "version 2".into())
    );
    assert!(!fixture.state().join("replaced").exists());
    // Interrupted upgrade.
    fixture.ship("version 3");
    fs::write(fixture.alias(), "version 3").unwrap();
    assert!(fixture.install());
    assert_eq!(fixture.content(), "version 3");
}

#[test]
fn foreign_driver_is_saved_and_replaced_once_its_volumes_are_unmounted() {
    let fixture = Fixture::with_alias();
    fixture.install_script("#!/bin/bash");
    fixture.mount(&[OF_ALIAS]);
    let (reason, message) = fixture.refused();
    assert_eq!(reason, reason::VOLUMES_MOUNTED);
    assert!(
        message.contains("driver kubernetes.io/lvm is another vendor's"),
        "{message}"
    );
    assert!(
        message.contains(OF_ALIAS) && message.contains("drain this node"),
        "{message}"
    );
    assert_eq!(fs::read_to_string(fixture.alias()).unwrap(), "#!/bin/bash");
    assert_eq!(fixture.content(), "version 1", "the own name does not wait");

    fixture.mount(&[POD]);
    assert!(fixture.install());
    assert_eq!(fs::read_to_string(fixture.alias()).unwrap(), "version 1");
    let kept = fixture.state().join("replaced/kubernetes.io~lvm");
    assert_eq!(fs::read_to_string(kept.join("lvm")).unwrap(), "#!/bin/bash");

    // The other vendor's installer restores it, and then installs another version.
    for (script, names) in [
        ("#!/bin/bash", &["lvm"][..]),
        ("#!/bin/sh", &["lvm", "lvm.1"]),
    ] {
        fixture.install_script(script);
        assert!(fixture.install());
        assert_eq!(entries(&kept), names);
    }
}

#[test]
fn removed_alias_stays_until_its_last_volume_is_unmounted() {
    let mut fixture = Fixture::with_alias();
    fixture.install();
    fixture.aliases.clear();
    fixture.mount(&[OF_ALIAS]);
    for version in ["version 1", "version 2"] {
        // Upgrades it, too: the kubelet needs the driver to unmount.
        fixture.ship(version);
        let (reason, message) = fixture.refused();
        assert_eq!(reason, reason::VOLUMES_MOUNTED);
        assert!(
            message.contains("kubernetes.io/lvm is no longer a name of the driver")
                && message.contains(OF_ALIAS),
            "{message}"
        );
        assert_eq!(
            (
                fs::read_to_string(fixture.alias()).unwrap(),
                fixture.content()
            ),
            (version.into(), version.into())
        );
    }
    // Volumes mounted under it keep the attach mode.
    fixture.attach = true;
    assert!(fixture.refused().1.contains("stays at attach: false"));
    fixture.attach = false;
    fixture.mount(&[POD]);
    assert!(fixture.install());
    assert_eq!(entries(&fixture.plugins()), ["flexlvm.dev~lvm"]);
    // The name is no longer recorded, so a driver that is installed there later is foreign.
    fixture.install();
    fixture.install_script("version 2");
    assert!(!fixture.install());
    assert_eq!(fs::read_to_string(fixture.alias()).unwrap(), "version 2");
}

#[test]
fn former_name_is_removed_completely_or_left_unchanged() {
    let former = || {
        let mut fixture = Fixture::with_alias();
        fixture.install();
        fixture.aliases.clear();
        fixture
    };
    // Interrupted after the driver, before its folder.
    let fixture = former();
    fs::remove_file(fixture.alias()).unwrap();
    assert!(fixture.install());
    assert_eq!(entries(&fixture.plugins()), ["flexlvm.dev~lvm"]);
    // The other vendor's script is back already.
    let fixture = former();
    fixture.install_script("#!/bin/bash");
    assert!(!fixture.install());
    assert_eq!(fs::read_to_string(fixture.alias()).unwrap(), "#!/bin/bash");
    // The folder contains another file.
    let fixture = former();
    fs::write(fixture.plugins().join("kubernetes.io~lvm/notes"), "").unwrap();
    let error = install(&fixture.target(), Presentation::OnChange)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("kubernetes.io~lvm/notes was not created by FlexLVM"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(fixture.alias()).unwrap(), "version 1");
}
