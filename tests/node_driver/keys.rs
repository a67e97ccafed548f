//! A claim's volume is mounted only with its key.

use crate::fixture::Fixture;
use crate::smallest;

/// A key guessed by a tenant who can read `/sys/block/*/dm/` in a container.
const GUESS: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn claims_volume_needs_its_key(fixture: &Fixture) {
    let fs = "ext4";
    let volume = fixture.fresh_volume(fs, smallest(fs));
    let folder = fixture.folder("owner", &volume);
    let intruder = fixture.folder("intruder", &volume);
    let json = volume.json("rw");
    let guess = volume.json_with("rw", &[("key", Some(GUESS))]);
    let without = volume.json_with("rw", &[("key", None)]);
    fixture.fails(
        &["mount", &intruder, &guess],
        &["is not the key", "PersistentVolume"],
    );
    fixture.succeeds(&["mount", &folder, &json]);
    fixture.fails(&["mount", &intruder, &guess], &["is not the key"]);
    fixture.fails(&["mount", &intruder, &without], &["\"key\" is missing"]);
    // After a boot, and with a torn file, the driver reads the digest from LVM.
    for forget in [
        "rm -r /run/flexlvm/keys",
        "echo torn >/run/flexlvm/keys/$UUID",
    ] {
        fixture.shell(&forget.replace("$UUID", volume.options.uuid.as_str()));
        fixture.succeeds(&["unmount", &folder]);
        fixture.fails(&["mount", &intruder, &guess], &["is not the key"]);
        fixture.succeeds(&["mount", &folder, &json]);
    }
    assert_eq!((fixture.mounts(&folder), fixture.mounts(&intruder)), (1, 0));
    fixture.succeeds(&["unmount", &folder]);

    let _attaching = fixture.attaching();
    let all = fixture.folder_for_all(&volume);
    fixture.fails(&["mountdevice", &all, "", &guess], &["is not the key"]);
    fixture.succeeds(&["mountdevice", &all, "", &json]);
    fixture.fails(&["mount", &intruder, &guess], &["is not the key"]);
    fixture.succeeds(&["unmountdevice", &all]);
    fixture.shell(&format!(
        "lvchange -qq --deltag {} {}",
        volume.options.key.digest().tag(),
        volume.path()
    ));
    fixture.shell("rm -r /run/flexlvm/keys");
    fixture.fails(
        &["mountdevice", &all, "", &json],
        &["has no tag with the digest of its key"],
    );
}
