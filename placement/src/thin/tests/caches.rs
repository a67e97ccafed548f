//! Tests of caches, which have disks of their own.

use super::*;

#[test]
fn cache_disks_hold_only_caches() {
    let mut storage = storage(json!([]));
    let fast = json!({"uuid": format!("{DISK}3"), "name": "/dev/nvme0", "size": "4Gi", "usedByOthers": "0", "free": "0", "cachePaths": ["/dev/disk/by-id/fast"]});
    let group = &mut storage.status.as_mut().unwrap().volume_groups[0];
    group.physical_volumes.push(from(fast));
    group.size = from(json!("104Gi"));
    let mut reservations = Reservations::default();
    let cached = backend(
        json!({"layout": {"type": "Cached"}, "cache": {"devices": ["/dev/disk/by-id/fast"], "size": "20%"}}),
    );
    assert_eq!(free(&linear(), &storage, &reservations), 100 * GIB);
    let fit = place(&cached, &storage, &reservations, 10 * GIB).unwrap();
    let cache = fit.reservation.cache.clone().unwrap();
    assert_eq!(
        (
            cache.size.0.as_str(),
            cache.physical_volumes[0].uuid.as_str()
        ),
        ("2Gi", format!("{DISK}3").as_str())
    );
    assert!(
        fit.reservation.own.on(&format!("{DISK}3")) == Bytes(0)
            && fit.reservation.allocation().total == Bytes(12 * GIB)
    );
    reservations.reserve("a", &fit.location, fit.reservation);
    assert_eq!(free(&linear(), &storage, &reservations), 90 * GIB);
    let rejected = place(&cached, &storage, &reservations, 15 * GIB).unwrap_err();
    assert_eq!(
        rejected,
        "has 2 GiB free on the cache disks of volume group vg0 but the cache needs 3 GiB"
    );
    let elsewhere = backend(
        json!({"layout": {"type": "Cached"}, "cache": {"devices": ["/dev/sdx"], "size": "20%"}}),
    );
    assert!(
        place(&elsewhere, &storage, &reservations, GIB)
            .unwrap_err()
            .contains("no disk of cache.devices")
    );
}
