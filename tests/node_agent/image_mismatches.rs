//! RAIDs whose images differ, as a check by an admin finds.

use crds::condition::HEALTHY;
use serde_json::json;

use crate::faulty_disks::request_report;
use crate::fixture::{Fixture, KINDS};

pub(crate) fn images_that_differ_are_reported_until_they_are_repaired(fixture: &Fixture) {
    for layout in ["RAID1", "RAID5"] {
        let name = fixture.name();
        let volume = format!("{KINDS}/{name}");
        let image = format!("/dev/mapper/{KINDS}-{}_rimage_1", name.replace('-', "--"));
        let spec = json!({"volumeGroup": KINDS, "layout": {"type": layout}});
        fixture.create_volume_with(&name, "32Mi", spec);
        fixture.ready(&name);
        let idle = format!("lvs --noheadings -o raid_sync_action {volume} | grep -q idle");
        fixture.wait_for_script("the images are synchronized", &idle);
        request_report(fixture);
        fixture.wait_for_condition(&name, HEALTHY, "Healthy", "");
        fixture.shell(&format!(
            "head -c 64K /dev/urandom | dd of={image} bs=64K seek=100 count=1 iflag=fullblock \
                conv=notrunc,fsync status=none
             lvchange -qq --syncaction check {volume}"
        ));
        fixture.wait_for_script("the check has ended", &idle);
        request_report(fixture);
        let remedy = format!("`lvchange --syncaction repair {volume}`");
        fixture.wait_for_condition(&name, HEALTHY, "ImageMismatches", &remedy);
        fixture.ready(&name);
        fixture.shell(&format!("lvchange -qq --syncaction repair {volume}"));
        fixture.wait_for_script("the repair has ended", &idle);
        fixture.shell(&format!("lvchange -qq --syncaction check {volume}"));
        fixture.wait_for_script("the second check has ended", &idle);
        request_report(fixture);
        fixture.wait_for_condition(&name, HEALTHY, "Healthy", "");
        fixture.remove(&name);
    }
}
