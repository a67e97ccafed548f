//! Property: no sequence of requests reserves more space than exists.

use super::*;

proptest! {
    #[test]
    fn reservations_never_exceed_the_volume_group(
        requests in prop::collection::vec((any::<bool>(), 1..40_u64, any::<bool>()), 1..30),
    ) {
        let backend = thin(json!({"size": "10Gi", "maximumSize": "40Gi", "overprovision": "1.5"}));
        let storage = storage(json!([]));
        let mut reservations = Reservations::default();
        let mut plain = 0;
        let mut pooled = 0;
        let mut pools = std::collections::BTreeSet::new();
        for (number, (is_thin, gibibytes, is_removed)) in requests.into_iter().enumerate() {
            let name = format!("v{number}");
            let which = if is_thin { backend.clone() } else { linear() };
            let Ok(fit) = place(&which, &storage, &reservations, gibibytes * GIB) else { continue };
            reservations.reserve(&name, &fit.location, fit.reservation);
            if is_removed {
                reservations.remove(&name);
            } else if is_thin {
                pooled += gibibytes;
                pools.insert(name);
            } else {
                plain += gibibytes;
            }
            let pool = if pools.is_empty() { 0 } else { 40 * GIB + (40 << 20) };
            prop_assert!(plain * GIB + pool <= 100 * GIB && pooled <= 60);
            let free = free(&linear(), &storage, &reservations);
            prop_assert_eq!(free, 100 * GIB - plain * GIB - pool);
        }
    }
}
