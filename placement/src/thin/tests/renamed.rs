//! A pool of FlexLVM that an admin has renamed.

use super::*;

#[test]
fn renamed_pool_counts_once_and_gets_no_volumes_but_they_grow() {
    let backend = thin(json!({"size": "10Gi", "maximumSize": "40Gi"}));
    let first = place(&backend, &storage(json!([])), &Reservations::default(), GIB).unwrap();
    let volume = object("pvc-1", &first);
    let mut reservations = Reservations::default();
    reservations.observe(&volume);
    let shares = json!([{"uuid": format!("{DISK}1"), "size": "10244Mi"}]);
    let free_for_linear = |pool: Value| free(&linear(), &storage(json!([pool])), &reservations);
    let own = pool("flexlvm-thin", "10Gi", 1, shares.clone());
    let mut renamed = pool("fast", "10Gi", 1, shares);
    renamed["originalName"] = json!("flexlvm-thin");
    assert_eq!(free_for_linear(renamed.clone()), free_for_linear(own));
    assert_eq!(
        rejected(json!({"size": "1Gi"}), json!([renamed.clone()])),
        "can't use thin pool flexlvm-thin: it was renamed to fast (rename it back with lvrename)"
    );
    let node = node();
    let storage = storage(json!([renamed]));
    let candidate = Some(Candidate {
        node: &node,
        storage: Some(&storage),
        silent_for: None,
    });
    let larger = grown(
        &volume,
        &backend.spec,
        Bytes(2 * GIB),
        candidate,
        &reservations,
    );
    assert_eq!(larger.unwrap().size, Bytes(2 * GIB));
}
