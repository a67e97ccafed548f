//! Further names of the driver: given, taken away, and what was there before.

use std::fs;
use std::path::PathBuf;

use super::{OF_ALIAS, POD, Place, entries, install, reason};

impl Place {
    /// One whose driver is to be called like the example script, too.
    fn with_alias() -> Self {
        Self {
            aliases: vec!["kubernetes.io/lvm".parse().unwrap()],
            ..Self::new()
        }
    }

    fn alias(&self) -> PathBuf {
        self.plugins().join("kubernetes.io~lvm/lvm")
    }

    /// The script that a cluster had before.
    fn has_a_script(&self, content: &str) {
        fs::create_dir_all(self.alias().parent().unwrap()).unwrap();
        fs::write(self.alias(), content).unwrap();
    }
}

#[test]
fn an_alias_is_the_same_driver_in_another_folder() {
    let place = Place::with_alias();
    assert!(place.install());
    assert_eq!(fs::read_to_string(place.alias()).unwrap(), "version 1");
    assert!(!place.install());
    // An upgrade, under mounted volumes.
    place.mount(&[OF_ALIAS, POD]);
    place.ship("version 2");
    assert!(place.install());
    assert_eq!(
        (fs::read_to_string(place.alias()).unwrap(), place.content()),
        ("version 2".into(), "version 2".into())
    );
    assert!(!place.state().join("replaced").exists());
    // An upgrade that was cut short in between.
    place.ship("version 3");
    fs::write(place.alias(), "version 3").unwrap();
    assert!(place.install());
    assert_eq!(place.content(), "version 3");
}

#[test]
fn somebody_elses_driver_is_replaced_when_nothing_of_it_is_mounted_and_kept() {
    let place = Place::with_alias();
    place.has_a_script("#!/bin/bash");
    place.mount(&[OF_ALIAS]);
    let (reason, message) = place.refused();
    assert_eq!(reason, reason::VOLUMES_MOUNTED);
    assert!(
        message.contains("driver kubernetes.io/lvm is somebody else's"),
        "{message}"
    );
    assert!(
        message.contains(OF_ALIAS) && message.contains("drain this node"),
        "{message}"
    );
    assert_eq!(fs::read_to_string(place.alias()).unwrap(), "#!/bin/bash");
    assert_eq!(
        place.content(),
        "version 1",
        "our own name has nothing to wait for"
    );

    place.mount(&[POD]);
    assert!(place.install());
    assert_eq!(fs::read_to_string(place.alias()).unwrap(), "version 1");
    let kept = place.state().join("replaced/kubernetes.io~lvm");
    assert_eq!(fs::read_to_string(kept.join("lvm")).unwrap(), "#!/bin/bash");

    // Its own installer brings it back, and then another one.
    for (script, names) in [
        ("#!/bin/bash", &["lvm"][..]),
        ("#!/bin/sh", &["lvm", "lvm.1"]),
    ] {
        place.has_a_script(script);
        assert!(place.install());
        assert_eq!(entries(&kept), names);
    }
}

#[test]
fn a_name_that_is_taken_away_goes_with_the_last_volume_under_it() {
    let mut place = Place::with_alias();
    place.install();
    place.aliases.clear();
    place.mount(&[OF_ALIAS]);
    for version in ["version 1", "version 2"] {
        // An upgrade, too: the kubelet needs the driver to unmount.
        place.ship(version);
        let (reason, message) = place.refused();
        assert_eq!(reason, reason::VOLUMES_MOUNTED);
        assert!(
            message.contains("no longer to be called kubernetes.io/lvm")
                && message.contains(OF_ALIAS),
            "{message}"
        );
        assert_eq!(
            (fs::read_to_string(place.alias()).unwrap(), place.content()),
            (version.into(), version.into())
        );
    }
    // What is mounted under it keeps the mode.
    place.attach = true;
    assert!(
        place
            .refused()
            .1
            .contains("keeps working with attach: false")
    );
    place.attach = false;
    place.mount(&[POD]);
    assert!(place.install());
    assert_eq!(entries(&place.plugins()), ["flexlvm.dev~lvm"]);
    // It is forgotten, and what comes there later is somebody else's.
    place.install();
    place.has_a_script("version 2");
    assert!(!place.install());
    assert_eq!(fs::read_to_string(place.alias()).unwrap(), "version 2");
}

#[test]
fn a_former_name_is_removed_whole_or_left_to_others() {
    let former = || {
        let mut place = Place::with_alias();
        place.install();
        place.aliases.clear();
        place
    };
    // Cut short after the driver, before its folder.
    let place = former();
    fs::remove_file(place.alias()).unwrap();
    assert!(place.install());
    assert_eq!(entries(&place.plugins()), ["flexlvm.dev~lvm"]);
    // The script is back already.
    let place = former();
    place.has_a_script("#!/bin/bash");
    assert!(!place.install());
    assert_eq!(fs::read_to_string(place.alias()).unwrap(), "#!/bin/bash");
    // Something else is in the folder.
    let place = former();
    fs::write(place.plugins().join("kubernetes.io~lvm/notes"), "").unwrap();
    let error = install(&place.target(), false).unwrap_err().to_string();
    assert!(
        error.contains("kubernetes.io~lvm/notes is not FlexLVM's"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(place.alias()).unwrap(), "version 1");
}
