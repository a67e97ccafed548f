//! RAIDs whose images differ, by the last check.

use host::lvm::{Level, Stripes};

use super::images::{mirror, mirrored, three_disks};
use super::*;

#[test]
fn images_that_differ_are_reported_with_the_remedy_of_their_level() {
    let stripes = Stripes {
        count: 2,
        size: Bytes(64 << 10),
    };
    for (level, phrase) in [
        (
            Level::Raid1 { copies: 2 },
            "lvconvert --replace DISK vg0/pvc-1",
        ),
        (Level::Raid10(stripes), "copies one image over the others"),
        (Level::Raid5(stripes), "computes the parity anew"),
        (Level::Raid6(stripes), "computes the parity anew"),
    ] {
        let spec = VolumeSpec {
            layout: Layout::Raid {
                level,
                integrity: false,
            },
            published: Some(uuid(1)),
            ..mirrored()
        };
        let differing = Lv {
            raid_mismatches: 128,
            size: Bytes(64 << 20),
            ..mirror()
        };
        let outcome = settled(&spec, &[three_disks(vec![differing])], None);
        assert!(outcome.ready.unwrap().status, "it works");
        let healthy = outcome.healthy.unwrap();
        let found = (healthy.status, healthy.reason);
        assert_eq!(found, (false, reason::IMAGE_MISMATCHES), "{level:?}");
        for part in [
            phrase,
            "128 sectors",
            "`lvchange --syncaction repair vg0/pvc-1`",
        ] {
            assert!(healthy.message.contains(part), "{}", healthy.message);
        }
    }
}
