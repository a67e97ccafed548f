//! Shortens the messages that LVM prints along with a successful report. Pure.

/// Maximum number of messages.
const MAX_MESSAGES: usize = 16;

/// Maximum length of a message in characters.
const MAX_CHARS: usize = 200;

/// Returns the distinct messages in LVM's standard error, one a line, in their order.
///
/// Their number and length are limited, since they are published in an object of the API; the last
/// one states how many are left out.
pub(in crate::lvm) fn warnings(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let mut messages: Vec<String> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect();
        let message = shortened(words.join(" "));
        if !message.is_empty() && !messages.contains(&message) {
            messages.push(message);
        }
    }
    if messages.len() > MAX_MESSAGES {
        let shown = MAX_MESSAGES - 1;
        let more = messages.len() - shown;
        messages.truncate(shown);
        messages.push(format!("{more} more messages; lvm fullreport prints them"));
    }
    messages
}

fn shortened(message: String) -> String {
    match message.char_indices().nth(MAX_CHARS) {
        None => message,
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_CHARS, MAX_MESSAGES, warnings};

    #[test]
    fn warnings_are_distinct_trimmed_lines() {
        let stderr = b"  WARNING: PV a is missing.\n  Retrying metadata scan.\n\n  WARNING: PV a is missing.\n";
        assert_eq!(
            warnings(stderr),
            ["WARNING: PV a is missing.", "Retrying metadata scan."]
        );
        assert!(warnings(b"").is_empty() && warnings(b"\n \n").is_empty());
    }

    #[test]
    fn warnings_are_limited_in_number_and_length() {
        let numbered: Vec<String> = (0..100)
            .map(|number| format!("  warning {number} \u{7}"))
            .collect();
        let stderr = format!("{}\n{}", "\u{e9}".repeat(1000), numbered.join("\n"));
        let warnings = warnings(stderr.as_bytes());
        assert_eq!(warnings.len(), MAX_MESSAGES);
        assert!(
            warnings
                .iter()
                .all(|text| text.chars().count() <= MAX_CHARS + 1)
        );
        assert!(warnings[1] == "warning 0", "{warnings:?}");
        assert!(warnings[15].starts_with("86 more messages"), "{warnings:?}");
    }
}
