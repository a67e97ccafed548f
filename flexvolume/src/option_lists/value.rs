//! Grammar of an option's value, and the errors about options. Pure.

use storage_model::Filesystem;

/// Why an option can't be used: each error names the option, the reason, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The option is not on the allow-list.
    #[error("{what} option {option:?} is not among those allowed for {fs}: {possible}")]
    Unknown {
        /// `mount` or `mkfs`.
        what: &'static str,
        /// The option, truncated.
        option: String,
        /// The file system.
        fs: Filesystem,
        /// The allowed options.
        possible: String,
    },
    /// The option is known to be dangerous.
    #[error("{what} option {option:?} is not allowed for {fs}: {why}")]
    Refused {
        /// `mount` or `mkfs`.
        what: &'static str,
        /// The option, truncated.
        option: String,
        /// The file system.
        fs: Filesystem,
        /// The danger.
        why: &'static str,
    },
    /// The value is missing, superfluous, or invalid for the option.
    #[error("{what} option {option:?} can't be used: {why}")]
    Value {
        /// `mount` or `mkfs`.
        what: &'static str,
        /// The option, truncated.
        option: String,
        /// What is wrong with its value.
        why: ValueError,
    },
    /// Two options exclude each other.
    #[error("{what} options {one:?} and {other:?} contradict each other")]
    Contradiction {
        /// `mount` or `mkfs`.
        what: &'static str,
        /// The first option.
        one: String,
        /// The second option.
        other: String,
    },
}

/// What is wrong with the value of an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// It is not among the values that the option takes.
    #[error("{}", takes.expected())]
    Unexpected {
        /// The values that it takes.
        takes: OptionValue,
    },
    /// It is missing.
    #[error("its value is missing")]
    Missing,
    /// The option, or the same sub-option, was given before.
    #[error("it is given twice")]
    Repeated,
    /// It contains a sub-option or feature that is not on the allow-list.
    #[error("{name:?} is not one of: {known}")]
    Unknown {
        /// The sub-option or feature, truncated.
        name: String,
        /// The allowed ones.
        known: String,
    },
    /// It switches off a feature that the file system needs.
    #[error("{feature:?} can't be switched off")]
    Required {
        /// The feature.
        feature: String,
    },
    /// The value of a sub-option is invalid.
    #[error("{name}: {}", takes.expected())]
    SubOption {
        /// The sub-option.
        name: String,
        /// The values that it takes.
        takes: OptionValue,
    },
}

/// The values that an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// No value.
    No,
    /// A whole number in this inclusive range.
    Number(u64, u64),
    /// A number from 0 to this maximum, which may have a fraction.
    Percent(u64),
    /// A whole number, which may have a unit such as `k`.
    Size,
    /// One of these values.
    OneOf(&'static [&'static str]),
    /// One of these values, or no value.
    Perhaps(&'static [&'static str]),
    /// A label of at most this number of plain characters.
    Label(usize),
    /// Two whole numbers separated by a colon.
    Pair,
}

/// On (`1`) or off (`0`).
pub(crate) const SWITCH: OptionValue = OptionValue::OneOf(&["0", "1"]);

impl OptionValue {
    /// Returns true if the option takes this value.
    pub(crate) fn accepts(self, value: Option<&str>) -> bool {
        let Some(text) = value else {
            return matches!(self, Self::No | Self::Perhaps(_));
        };
        match self {
            Self::No => false,
            Self::Number(least, most) => {
                digits(text).is_some_and(|number| (least..=most).contains(&number))
            }
            Self::Percent(most) => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
                let below =
                    digits(fraction).is_some() && digits(whole).is_some_and(|whole| whole < most);
                below || (digits(whole) == Some(most) && digits(fraction) == Some(0))
            }
            Self::Size => {
                let number = text
                    .strip_suffix(['b', 's', 'k', 'm', 'g', 't', 'K', 'M', 'G', 'T'])
                    .unwrap_or(text);
                digits(number).is_some_and(|number| number > 0)
            }
            Self::OneOf(words) | Self::Perhaps(words) => words.contains(&text),
            Self::Label(longest) => {
                (1..=longest).contains(&text.len())
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
                    && !text.starts_with('-')
            }
            Self::Pair => text
                .split_once(':')
                .is_some_and(|(one, other)| digits(one).is_some() && digits(other).is_some()),
        }
    }

    fn expected(self) -> String {
        match self {
            Self::No => "it takes no value".to_owned(),
            Self::Number(least, most) => format!("it takes a whole number from {least} to {most}"),
            Self::Percent(most) => format!("it takes a number from 0 to {most}"),
            Self::Size => "it takes a size, such as 65536 or 64k".to_owned(),
            Self::OneOf(words) => format!("it takes one of: {}", words.join(", ")),
            Self::Perhaps(words) => format!("it takes no value, or one of: {}", words.join(", ")),
            Self::Label(longest) => format!("it takes up to {longest} letters, digits and _ . -"),
            Self::Pair => "it takes two whole numbers, as in 1000:1000".to_owned(),
        }
    }
}

/// Parses a decimal number without a sign, short enough for every program that reads it.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 18 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Truncates a user's text for a message.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::OptionValue;

    #[test]
    fn values_are_checked_against_their_grammar() {
        for (value, good, bad) in [
            (
                OptionValue::Number(1, 300),
                &["1", "300"][..],
                &["0", "301", "", "-1", "+1", "1.0", "0x1", "1 "][..],
            ),
            (
                OptionValue::Percent(50),
                &["0", "50", "0.5", "50.0"],
                &["51", "50.1", "-1", ".5", "1.", "a"],
            ),
            (
                OptionValue::Size,
                &["1", "64k", "1G"],
                &["k", "0", "-1", "64kk", "64k,size=1", ""],
            ),
            (OptionValue::OneOf(&["a", "b"]), &["a"], &["c", "a,b", ""]),
            (
                OptionValue::Label(4),
                &["a-b_"],
                &["abcde", "", "-a", "a b", "a,b", "ä"],
            ),
            (OptionValue::Pair, &["0:0"], &["0", ":", "0:", "0:0:0"]),
        ] {
            assert!(
                good.iter().all(|text| value.accepts(Some(text))),
                "{value:?}"
            );
            assert!(
                bad.iter().all(|text| !value.accepts(Some(text))),
                "{value:?}"
            );
            assert!(!value.accepts(None));
        }
        assert!(OptionValue::No.accepts(None) && !OptionValue::No.accepts(Some("")));
        let perhaps = OptionValue::Perhaps(&["a"]);
        assert!(perhaps.accepts(None) && perhaps.accepts(Some("a")) && !perhaps.accepts(Some("")));
    }
}
