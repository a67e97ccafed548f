//! Parser for a flat JSON object, the form in which the kubelet passes options. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

/// Parses one JSON object whose values are strings and whose keys are distinct.
///
/// serde's own map would silently take the last of two equal keys, but in a hand-written
/// PersistentVolume either can be the intended one.
///
/// # Errors
/// When the text is anything else. The error's message can contain text of the input, which may be
/// secret: report the error's position only.
pub(crate) fn parse(json: &str) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer
        .deserialize_map(Flat)
        .and_then(|map| deserializer.end().map(|()| map))
}

struct Flat;

impl<'de> Visitor<'de> for Flat {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = access.next_entry()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key occurs twice"));
            }
        }
        Ok(map)
    }
}
