//! What tokens cost, in whole numbers: no fraction is ever rounded before a sum is shown. Never: who pays.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{ModelId, Tokens};

/// A price of a million tokens, in thousand-millionths of the currency's unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price(u64);

/// The text is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a price is a decimal number such as \"0.15\", from 0 to 1000000, with at most 9 digits after the point"
)]
pub struct PriceError;

impl Price {
    const FRACTION_DIGITS: usize = 9;
    const UNIT: u64 = 1_000_000_000;
    const MOST: u64 = 1_000_000;
}

impl FromStr for Price {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > Self::FRACTION_DIGITS {
            return Err(PriceError);
        }
        let whole: u64 = whole.parse().map_err(|_| PriceError)?;
        let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| PriceError)?;
        let price = whole.checked_mul(Self::UNIT).and_then(|whole| whole.checked_add(fraction));
        price.filter(|price| *price <= Self::MOST * Self::UNIT).map(Self).ok_or(PriceError)
    }
}

/// What a model's tokens cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelPrice {
    /// Of tokens read.
    pub prompt: Price,
    /// Of tokens written.
    pub completion: Price,
    /// Of tokens read that the server had cached.
    pub cached: Price,
}

impl ModelPrice {
    /// What so many tokens cost.
    #[must_use]
    pub fn of(&self, tokens: Tokens) -> Cost {
        let cost = |tokens: u64, price: Price| u128::from(tokens) * u128::from(price.0);
        let cached = tokens.cached.min(tokens.prompt);
        let sum = cost(tokens.prompt - cached, self.prompt)
            .saturating_add(cost(cached, self.cached))
            .saturating_add(cost(tokens.completion, self.completion));
        Cost(sum)
    }
}

/// An amount of money, exact: in millionths of thousand-millionths of the currency's unit. Shown rounded to
/// thousand-millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u128);

impl Cost {
    const PER_NANO: u128 = 1_000_000;

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Thousand-millionths of the currency's unit, a half and more rounded up.
    #[must_use]
    pub const fn nanos(self) -> u128 {
        self.0.saturating_add(Self::PER_NANO / 2) / Self::PER_NANO
    }

    /// The amount that [`Cost::nanos`] gave.
    #[must_use]
    pub const fn from_nanos(nanos: u128) -> Self {
        Self(nanos.saturating_mul(Self::PER_NANO))
    }

    /// The amount with two digits after the point, or as many as it takes to show that it is not nothing.
    #[must_use]
    pub fn short(self) -> String {
        let text = self.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits =
            fraction.find(|c| c != '0').filter(|_| whole == "0").map_or(2, |first| (first + 2).max(2));
        format!("{whole}.{:0<2}", &fraction[..digits.min(fraction.len())])
    }
}

impl fmt::Display for Cost {
    /// All that is known of it: `0.15`, `12`, `0.000000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nanos();
        let unit = u128::from(Price::UNIT);
        let text = format!("{}.{:09}", nanos / unit, nanos % unit);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for Cost {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
            return Err(PriceError);
        }
        format!("{whole}{fraction:0<9}").parse().map(Self::from_nanos).map_err(|_| PriceError)
    }
}

/// The prices of models by their public names, and the currency's word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    /// By public name.
    pub models: BTreeMap<ModelId, ModelPrice>,
    /// Like `USD`; shown behind amounts. None where nothing was said.
    pub currency: Option<String>,
}

impl Prices {
    /// What so many of a model's tokens cost; none where the model has no price.
    #[must_use]
    pub fn cost(&self, model: &str, tokens: Tokens) -> Option<Cost> {
        let model: ModelId = model.parse().ok()?;
        self.models.get(&model).map(|price| price.of(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    #[test]
    fn sums_are_exact_to_the_last_digit() {
        let model = ModelPrice { prompt: price("0.15"), completion: price("0.60"), cached: price("0.075") };
        let tokens = |prompt, completion, cached| Tokens { prompt, completion, cached };
        assert_eq!(model.of(tokens(1_000_000, 0, 0)).to_string(), "0.15");
        assert_eq!(model.of(tokens(1_000_000, 1_000_000, 1_000_000)).to_string(), "0.675");
        assert_eq!(model.of(tokens(1, 0, 0)).to_string(), "0.00000015");
        // A third of a cent for a million times, token by token, is what the million cost.
        let odd = ModelPrice { prompt: price("0.003333333"), ..ModelPrice::default() };
        let sum = (0..1_000_000).fold(Cost::default(), |sum, _| sum.plus(odd.of(tokens(1, 0, 0))));
        assert_eq!((sum, sum.to_string()), (odd.of(tokens(1_000_000, 0, 0)), "0.003333333".to_string()));
        assert_eq!(model.of(tokens(2, 0, 9)), model.of(tokens(2, 0, 2)), "no more is cached than was read");
        let most = ModelPrice { prompt: price("1000000"), ..ModelPrice::default() };
        assert_eq!(most.of(tokens(u64::MAX, 0, 0)).to_string(), "18446744073709551615");
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "1e3",
            "0,5",
            "0.0000000001",
            "1000000.1",
            "1 ",
            "+1",
            "99999999999999999999",
        ] {
            assert_eq!(text.parse::<Price>(), Err(PriceError), "{text}");
        }
        assert_eq!(price("1000000"), Price(1_000_000_000_000_000));
    }

    #[test]
    fn an_amount_is_shown_short_and_read_back_whole() {
        for (nanos, whole, short) in [
            (0, "0", "0.00"),
            (150_000_000, "0.15", "0.15"),
            (12_000_000_000, "12", "12.00"),
            (1_239_000_000, "1.239", "1.23"),
            (1, "0.000000001", "0.000000001"),
            (1_250_000, "0.00125", "0.0012"),
        ] {
            let cost = Cost::from_nanos(nanos);
            assert_eq!((cost.to_string().as_str(), cost.short().as_str()), (whole, short));
            assert_eq!(whole.parse(), Ok(cost));
        }
        assert!("".parse::<Cost>().is_err() && "1.x".parse::<Cost>().is_err());
    }
}
