//! A part of some space: an amount, or a share of the total.
//! Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity;
use crate::validation::ValidationError;

/// An amount of space (`10Gi`), or a share of a total (`5%`).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Portion(
    #[schemars(
        length(min = 1, max = 32),
        regex(
            pattern = r"^(100|[0-9]{1,2})%$|^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)?$"
        )
    )]
    pub String,
);

impl Portion {
    /// Returns true for a share of a total, false for an amount.
    #[must_use]
    pub fn is_share(&self) -> bool {
        self.0.ends_with('%')
    }

    /// Returns the portion of a total of `whole` bytes, in bytes; shares are rounded up.
    ///
    /// # Errors
    /// About `field`, when the text is neither an amount nor a share from 0 to 100 %.
    pub fn bytes(&self, field: &str, whole: u64) -> Result<u64, ValidationError> {
        let Some(share) = self.0.strip_suffix('%') else {
            return quantity::parse(&Quantity(self.0.clone()))
                .map_err(|error| ValidationError::new(field, error.to_string()));
        };
        let Ok(share) = share.parse::<u128>() else {
            let problem = format!("\"{}\" is not a share such as 5%", self.0);
            return Err(ValidationError::new(field, problem));
        };
        if share > 100 {
            let problem = format!("{share}% is more than 100%");
            return Err(ValidationError::new(field, problem));
        }
        let bytes = (u128::from(whole) * share).div_ceil(100);
        Ok(u64::try_from(bytes).unwrap_or(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::{Portion, ValidationError};

    fn bytes(text: &str) -> Result<u64, ValidationError> {
        Portion(text.to_owned()).bytes("reserve", 1000)
    }

    #[test]
    fn parses_amounts_and_shares() {
        assert_eq!(bytes("5%"), Ok(50));
        assert_eq!(bytes("0%"), Ok(0));
        assert_eq!(bytes("100%"), Ok(1000));
        assert_eq!(bytes("1Ki"), Ok(1024));
        assert_eq!(Portion("1%".into()).bytes("reserve", 1001), Ok(11));
        for text in ["101%", "x%", "-5%", "ten"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
