//! The key digests that the driver reads, so that no call for a claim's volume waits behind calls for
//! volumes that pods name inline.

use crate::fixture::{Fixture, GROUP};

pub(crate) fn keys_of_all_volumes_are_recorded_again_after_a_restart_of_the_node(
    fixture: &Fixture,
) {
    let names = [(); 2].map(|()| fixture.volume("64Mi"));
    let record = |name: &str| format!("/run/flexlvm/keys/{}", fixture.ready(name));
    fixture.kill_agent();
    // As after a boot. The other volume has lost the tag with its digest.
    let [name, other] = &names;
    fixture.shell(&format!(
        "rm -r /run/flexlvm/keys; lvchange -qq -an {GROUP}/{name}
         tag=$(lvs --noheadings -o lv_tags {GROUP}/{other} | tr , '\\n' | grep claim-key= | tr -d ' ')
         lvchange -qq --deltag $tag {GROUP}/{other}"
    ));
    fixture.start_agent();
    fixture.wait_for_script("the key is recorded", &format!("test -s {}", record(name)));
    assert_eq!(
        fixture.shell(&format!("cat {}", record(name))),
        "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a"
    );
    fixture.shell(&format!("! test -e {}", record(other)));
    for name in &names {
        fixture.remove(name);
    }
}
