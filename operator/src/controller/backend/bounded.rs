//! Lists of nodes in a message, bounded in number and bytes: a status with the fault of each of a
//! thousand nodes would take a megabyte, and is written anew with each change of one of them. Pure.

/// Maximum number of listed nodes.
const SHOWN: usize = 20;

/// Maximum length of what is listed about one node, in bytes: an agent's message may be long.
const LONGEST: usize = 400;

/// Joins what is known about nodes, and counts the nodes that it omits.
pub(super) fn join(nodes: &[String], separator: &str) -> String {
    let mut shown: Vec<String> = nodes.iter().take(SHOWN).map(|node| shorten(node)).collect();
    match nodes.len().saturating_sub(SHOWN) {
        0 => {}
        1 => shown.push("1 more node".to_owned()),
        hidden => shown.push(format!("{hidden} more nodes")),
    }
    shown.join(separator)
}

fn shorten(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST)])
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, SHOWN, join};

    #[test]
    fn list_is_bounded_in_number_and_bytes() {
        let few = ["a".to_owned(), "b".to_owned()];
        assert_eq!(join(&few, " and "), "a and b");
        let long = "é".repeat(10_000);
        let many = vec![long; 1000];
        let joined = join(&many, ", ");
        assert!(
            joined.len() <= SHOWN * (LONGEST + 5) + 20,
            "{}",
            joined.len()
        );
        assert!(joined.ends_with("…, 980 more nodes"));
        assert!(join(&many[..=SHOWN], ", ").ends_with(", 1 more node"));
    }
}
