//! A part of some space: an amount, or a share of the total.
//! Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity;

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
    /// Returns the portion of a total of `whole` bytes, in bytes; shares are rounded up.
    ///
    /// # Errors
    /// One sentence, when the text is neither an amount nor a share from 0 to 100 %.
    pub fn bytes(&self, whole: u64) -> Result<u64, String> {
        let Some(share) = self.0.strip_suffix('%') else {
            return quantity::parse(&Quantity(self.0.clone())).map_err(|error| error.to_string());
        };
        let share: u128 = share
            .parse()
            .map_err(|_| format!("\"{}\" is not a share such as 5%", self.0))?;
        if share > 100 {
            return Err(format!("{share}% is more than 100%"));
        }
        let bytes = (u128::from(whole) * share).div_ceil(100);
        Ok(u64::try_from(bytes).unwrap_or(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::Portion;

    #[test]
    fn parses_amounts_and_shares() {
        let bytes = |text: &str| Portion(text.to_owned()).bytes(1000);
        assert_eq!(bytes("5%"), Ok(50));
        assert_eq!(bytes("0%"), Ok(0));
        assert_eq!(bytes("100%"), Ok(1000));
        assert_eq!(bytes("1Ki"), Ok(1024));
        assert_eq!(Portion("1%".into()).bytes(1001), Ok(11));
        for text in ["101%", "x%", "-5%", "ten"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
