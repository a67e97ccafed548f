//! Volumes that accept no writes.

use host::lvm::LvHealth;

use super::*;

#[test]
fn volume_that_accepts_no_writes_is_not_healthy() {
    for (health, remedy) in [
        (LvHealth::ReadOnly, "`lvchange --permission rw vg0/pvc-1`"),
        (LvHealth::ReadOnlyDevice, "`lvchange --refresh vg0/pvc-1`"),
    ] {
        let outcome = settled(&published(), &[vg(vec![Lv { health, ..lv() }])], None);
        assert!(outcome.ready.unwrap().status, "it can be read");
        let healthy = outcome.healthy.unwrap();
        assert_eq!((healthy.status, healthy.reason), (false, reason::READ_ONLY));
        assert!(healthy.message.contains(remedy), "{}", healthy.message);
    }
}
