//! The published thin pools.

use super::*;

#[test]
fn renamed_pool_is_published_with_its_original_name() {
    let original_name = |name: &str, tags: &[&str]| {
        let mut groups = groups();
        let vg0 = groups.iter_mut().find(|vg| vg.name == "vg0").unwrap();
        let pool = vg0.lvs.iter_mut().find(|lv| lv.name == "pool").unwrap();
        pool.name = name.to_owned();
        pool.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let mut published = status(groups, &[]).volume_groups.into_iter();
        let mut vg0 = published.find(|group| group.name == "vg0").unwrap();
        vg0.thin_pools.remove(0).original_name
    };
    let tag = "flexlvm.dev/thin-pool=fast";
    assert_eq!(original_name("flexlvm-fast", &[tag]), None);
    let original = Some("flexlvm-fast".to_owned());
    assert_eq!(original_name("big", &["other", tag]), original);
    assert_eq!(original_name("big", &["other"]), None, "an admin's pool");
}
