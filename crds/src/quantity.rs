//! Conversion between Kubernetes quantities ("10Gi", "1500M", "1e9") and bytes: exact, or an error.
//! Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Why a quantity is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text is not a quantity.
    #[error("\"{0}\" is not a quantity such as 10Gi")]
    Malformed(String),
    /// The quantity is below zero.
    #[error("{0} is below zero")]
    Negative(String),
    /// The quantity exceeds `i64::MAX` bytes, Kubernetes' own limit.
    #[error("{0} is more than 2^63-1 bytes")]
    TooLarge(String),
}

const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// Returns a quantity in bytes.
///
/// A fraction of a byte is rounded up, so that a volume is never smaller than requested.
///
/// # Errors
/// When the text is not a quantity, is negative, or exceeds `i64::MAX` bytes.
pub fn parse(quantity: &Quantity) -> Result<u64, QuantityError> {
    let text = quantity.0.as_str();
    let unsigned = match text.strip_prefix('-') {
        Some(rest) if rest.trim_start_matches(['0', '.']).is_empty() && !rest.is_empty() => rest,
        Some(_) => return Err(QuantityError::Negative(text.to_owned())),
        None => text.strip_prefix('+').unwrap_or(text),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(QuantityError::Malformed(text.to_owned()));
    }
    let Some((two, ten)) = factor(suffix) else {
        return Err(QuantityError::Malformed(text.to_owned()));
    };
    scaled(whole, fraction, two, ten).ok_or_else(|| QuantityError::TooLarge(text.to_owned()))
}

/// Returns a suffix's factor as exponents: two to the first, times ten to the second.
fn factor(suffix: &str) -> Option<(u32, i32)> {
    if let Some((_, two)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((*two, 0));
    }
    if let Some((_, ten)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((0, *ten));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    exponent
        .parse()
        .ok()
        .filter(|ten: &i32| ten.abs() <= 40)
        .map(|ten| (0, ten))
}

fn scaled(whole: &str, fraction: &str, two: u32, ten: i32) -> Option<u64> {
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let ten = ten.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let binary = digits.parse::<u128>().ok()?.checked_mul(1 << two)?;
    let bytes = if ten >= 0 {
        binary.checked_mul(10_u128.checked_pow(ten.unsigned_abs())?)?
    } else {
        // A divisor beyond 128 bits leaves less than one byte, which is rounded up to one.
        10_u128
            .checked_pow(ten.unsigned_abs())
            .map_or(1, |divisor| binary.div_ceil(divisor))
    };
    u64::try_from(bytes)
        .ok()
        .filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// Returns bytes as the shortest exact quantity with a binary suffix: 10737418240 is `10Gi`, 1000
/// is `1000`.
#[must_use]
pub fn format(bytes: impl Into<u64>) -> Quantity {
    let bytes = bytes.into();
    let suffix = BINARY
        .iter()
        .rev()
        .find(|(_, two)| bytes > 0 && bytes.is_multiple_of(1 << two));
    Quantity(match suffix {
        Some((name, two)) => format!("{}{name}", bytes >> two),
        None => bytes.to_string(),
    })
}

/// Returns bytes for messages: at most two digits after the point, in the largest binary unit below
/// the value ("9.5 GiB").
#[must_use]
pub fn human(bytes: impl Into<u64>) -> String {
    let bytes = bytes.into();
    let Some((name, two)) = BINARY.iter().rev().find(|(_, two)| bytes >= 1 << two) else {
        return format!("{bytes} bytes");
    };
    let hundredths = (u128::from(bytes) * 100) >> two;
    let whole = hundredths / 100;
    let rest = hundredths % 100;
    match rest {
        0 => format!("{whole} {name}B"),
        _ if rest % 10 == 0 => format!("{whole}.{} {name}B", rest / 10),
        _ => format!("{whole}.{rest:02} {name}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::{QuantityError, format, human, parse};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Result<u64, QuantityError> {
        parse(&Quantity(text.to_owned()))
    }

    #[test]
    fn parses_kubernetes_quantities() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1),
            ("10Gi", 10 << 30),
            ("1.5Gi", 3 << 29),
            ("1500M", 1_500_000_000),
            ("12e6", 12_000_000),
            ("1E3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("100m", 1),
            (".5", 1),
            ("5.", 5),
            ("+1Ki", 1024),
            ("-0", 0),
            ("0.0000000000000000000000000000000000001", 1),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn rejects_invalid_quantities() {
        for text in [
            "", "Gi", ".", "1.2.3", "1GB", "ten", "1 Gi", "0x10", "1e", "1e999", "1KI",
        ] {
            assert!(
                matches!(bytes(text), Err(QuantityError::Malformed(_))),
                "{text}"
            );
        }
        assert!(matches!(bytes("-1Gi"), Err(QuantityError::Negative(_))));
        for text in [
            "8Ei",
            "9223372036854775808",
            "100E",
            "1e40",
            "99999999999999999999999999999999999999999999",
        ] {
            assert!(
                matches!(bytes(text), Err(QuantityError::TooLarge(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn human_sizes_use_the_largest_binary_unit() {
        for (bytes, expected) in [
            (0_u64, "0 bytes"),
            (1023, "1023 bytes"),
            (1 << 30, "1 GiB"),
            ((1 << 30) + (1 << 29), "1.5 GiB"),
            (1_500_000_000, "1.39 GiB"),
        ] {
            assert_eq!(human(bytes), expected);
        }
    }

    proptest! {
        #[test]
        fn every_size_survives_the_round_trip(size in 0..=i64::MAX as u64, shift in 0..64_u32) {
            let size = size >> shift;
            prop_assert_eq!(parse(&format(size)), Ok(size));
        }

        #[test]
    fn arbitrary_text_never_panics(text in ".*") {
            let _ = bytes(&text);
        }
    }
}
