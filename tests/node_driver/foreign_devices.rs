//! Attach mode with the devices and names of other volumes.

use crate::fixture::{Fixture, NODE, Volume};

pub(crate) fn volumes_with_equal_names_are_distinguished(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let one = fixture.used_volume("ext4");
    let other = fixture.used_volume("ext4");
    let name = one.options.volume.as_str();
    let theirs = other.json_with("rw", &[("kubernetes.io/pvOrVolumeName", Some(name))]);
    let all = fixture.folder_for_all(&one);
    let pod = fixture.folder("namesake", &one);
    fixture.succeeds(&["waitforattach", "", &one.json("rw")]);
    fixture.succeeds(&["mountdevice", &all, "", &one.json("rw")]);
    fixture.fails(
        &["waitforattach", "", &theirs],
        &["same name", "rename the pod's volume"],
    );
    assert!(
        !fixture.is_active(&other),
        "refused before anything was done"
    );
    fixture.succeeds(&[
        "mountdevice",
        &fixture.folder_for_all(&other),
        "",
        &other.json("rw"),
    ]);
    fixture.fails(
        &["mountdevice", &all, "", &theirs],
        &["something else is mounted"],
    );
    fixture.fails(
        &["mount", &pod, &theirs],
        &["same name", "rename the pod's volume"],
    );
    assert_eq!((fixture.mounts(&all), fixture.mounts(&pod)), (1, 0));
    fixture.succeeds(&["unmountdevice", &fixture.folder_for_all(&other)]);
    fixture.succeeds(&["unmountdevice", &all]);
    // A stale attachment without a mount does not block the name for the next volume.
    fixture.succeeds(&["waitforattach", "", &theirs]);
    fixture.succeeds(&["detach", name, NODE]);
    assert!(!fixture.is_active(&other));
    // A volume with two names is deactivated by the last detach.
    let second = one.json_with("rw", &[("kubernetes.io/pvOrVolumeName", Some("second"))]);
    fixture.succeeds(&["waitforattach", "", &one.json("rw")]);
    fixture.succeeds(&["waitforattach", "", &second]);
    fixture.succeeds(&["detach", name, NODE]);
    assert!(fixture.is_active(&one));
    fixture.succeeds(&["detach", "second", NODE]);
    assert!(!fixture.is_active(&one));
}

pub(crate) fn driver_rejects_foreign_devices(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.used_volume("ext4");
    let other = fixture.unformatted_volume("ext4", 64);
    let json = volume.json("rw");
    let all = fixture.folder_for_all(&volume);
    let pod = fixture.folder("device", &volume);
    fixture.shell(&format!(
        "mkfifo /dev/fifo; ln -s {} /dev/link",
        other.mapper()
    ));
    let kernels = kernels_name(fixture, &other);
    for device in [
        "/dev/ubda",
        "/dev/fifo",
        "/dev/link",
        "/dev/none",
        "/etc/passwd",
        "/dev/../etc/passwd",
        &*kernels,
    ] {
        for line in [
            &["waitforattach", device, &*json][..],
            &["mountdevice", &*all, device, &*json],
            &["mount", &*pod, device, &*json],
        ] {
            fixture.fails(
                line,
                &[
                    "is not the device of logical volume",
                    volume.options.volume.as_str(),
                ],
            );
        }
    }
    fixture.shell("rm /dev/fifo /dev/link");
    assert!(!fixture.is_active(&volume));
    assert_eq!(
        (
            fixture.mounts(&all),
            fixture.mounts(&pod),
            &*fixture.mark(&other, "read")
        ),
        (0, 0, "unformatted")
    );
    accepts_each_name_of_device(fixture, &volume);
}

/// The volume's own device: before activation by its stable name, afterwards by any name.
fn accepts_each_name_of_device(fixture: &Fixture, volume: &Volume) {
    let json = volume.json("rw");
    let all = fixture.folder_for_all(volume);
    let pod = fixture.folder("device", volume);
    let names: [fn(&Fixture, &Volume) -> String; 4] = [
        |_, volume| volume.mapper(),
        |_, volume| volume.device(),
        kernels_name,
        |_, _| String::new(),
    ];
    for name_of in names {
        fixture.succeeds(&["waitforattach", &volume.mapper(), &json]);
        let device = name_of(fixture, volume);
        fixture.succeeds(&["waitforattach", &device, &json]);
        // Old kubelets pass the device to mount, without a folder for all pods.
        fixture.succeeds(&["mount", &pod, &device, &json]);
        fixture.shell(&format!("grep -q hello {pod}/file"));
        fixture.succeeds(&["unmount", &pod]);
        fixture.succeeds(&["mountdevice", &all, &device, &json]);
        fixture.succeeds(&["unmountdevice", &all]);
    }
    fixture.succeeds(&["detach", volume.options.volume.as_str(), NODE]);
}

fn kernels_name(fixture: &Fixture, volume: &Volume) -> String {
    fixture.shell(&format!("readlink -f {}", volume.mapper()))
}
