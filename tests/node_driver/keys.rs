//! Who may have a claim's volume mounted: whoever has its key.

use crate::smallest;
use crate::stage::Stage;

/// What a user knows who has read `/sys/block/*/dm/` in a container, and guesses.
const GUESS: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn a_claims_volume_opens_only_to_its_key(stage: &Stage) {
    let fs = "ext4";
    let volume = stage.fresh_volume(fs, smallest(fs));
    let (folder, thief) = (
        stage.folder("owner", &volume),
        stage.folder("thief", &volume),
    );
    let (json, guess) = (
        volume.json("rw"),
        volume.json_with("rw", &[("key", Some(GUESS))]),
    );
    let without = volume.json_with("rw", &[("key", None)]);
    stage.fails(
        &["mount", &thief, &guess],
        &["is not the key", "PersistentVolume"],
    );
    stage.succeeds(&["mount", &folder, &json]);
    stage.fails(&["mount", &thief, &guess], &["is not the key"]);
    stage.fails(&["mount", &thief, &without], &["\"key\" is missing"]);
    // After a start of the node, and with a file that was torn, LVM is asked.
    for forget in [
        "rm -r /run/flexlvm/keys",
        "echo torn >/run/flexlvm/keys/$UUID",
    ] {
        stage.shell(&forget.replace("$UUID", volume.options.uuid.as_str()));
        stage.succeeds(&["unmount", &folder]);
        stage.fails(&["mount", &thief, &guess], &["is not the key"]);
        stage.succeeds(&["mount", &folder, &json]);
    }
    assert_eq!((stage.mounts(&folder), stage.mounts(&thief)), (1, 0));
    stage.succeeds(&["unmount", &folder]);

    let _attaching = stage.attaching();
    let all = stage.folder_for_all(&volume);
    stage.fails(&["mountdevice", &all, "", &guess], &["is not the key"]);
    stage.succeeds(&["mountdevice", &all, "", &json]);
    stage.fails(&["mount", &thief, &guess], &["is not the key"]);
    stage.succeeds(&["unmountdevice", &all]);
    stage.shell(&format!(
        "lvchange -qq --deltag {} {}",
        volume.options.key.digest().tag(),
        volume.path()
    ));
    stage.shell("rm -r /run/flexlvm/keys");
    stage.fails(
        &["mountdevice", &all, "", &json],
        &["has no tag with the digest of its key"],
    );
}
