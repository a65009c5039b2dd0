//! Quantities as Kubernetes writes them: `10`, `500m`, `1.5Gi`, `2e3` (apimachinery, `resource.Quantity`). Kubernetes shows a
//! quantity in another form than it was given (`1000m` as `1`), so they are compared by value.

use std::str::FromStr;

use serde_json::Value;

/// Billionths: the finest that Kubernetes knows.
const SCALE: u32 = 9;
/// Longest text.
const MAX_TEXT: usize = 40;
/// Kubernetes counts in 64 bits with a sign.
const MAX: u128 = (i64::MAX as u128) * 10_u128.pow(SCALE);

/// An amount that is not negative, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(u128);

/// A text that is no such amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no quantity: a number that is not negative, such as 10, 500m, 1.5 or 4Gi")]
pub struct NoQuantity;

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many units of it, rounded up; none when they are too many to count.
    #[must_use]
    pub fn times(self, unit: u128) -> Option<u64> {
        u64::try_from(self.0.checked_mul(unit)?.div_ceil(10_u128.pow(SCALE))).ok()
    }

    /// Whether it is a whole number.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.0.is_multiple_of(10_u128.pow(SCALE))
    }

    /// Whether two values of a Kubernetes object are the same amount; false when one is none.
    #[must_use]
    pub fn same(one: &Value, other: &Value) -> bool {
        let read = |value: &Value| match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        };
        let (one, other): (Option<Self>, Option<Self>) = (read(one), read(other));
        one.is_some() && one == other
    }
}

impl FromStr for Quantity {
    type Err = NoQuantity;

    fn from_str(text: &str) -> Result<Self, NoQuantity> {
        read(text).map(Self).ok_or(NoQuantity)
    }
}

fn read(text: &str) -> Option<u128> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    let (two, ten) = powers(suffix)?;
    // digits × 2^two × 10^(ten + SCALE − places), which must be whole: what is finer is rounded up by Kubernetes, and here refused.
    let ten = ten + i64::from(SCALE) - i64::try_from(fraction.len()).ok()?;
    let binary = digits.checked_mul(1_u128.checked_shl(two)?)?;
    let power = 10_u128.checked_pow(u32::try_from(ten.unsigned_abs()).ok()?)?;
    let amount = match ten {
        0.. => binary.checked_mul(power)?,
        _ if binary.is_multiple_of(power) => binary / power,
        _ => return None,
    };
    (amount <= MAX).then_some(amount)
}

/// What a suffix multiplies with: a power of two and one of ten.
fn powers(suffix: &str) -> Option<(u32, i64)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            if digits.is_empty() || digits.len() > 2 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (0, exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_that_are_written_in_another_way_are_the_same() {
        for (one, other) in [
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1.5", "1500m"),
            ("2e3", "2k"),
            ("2E3", "2000"),
            ("1E", "1000P"),
            ("+5", "5"),
            (".5", "500m"),
            ("5.", "5"),
            ("1e-3", "1m"),
            ("0", "0Ki"),
            ("007", "7"),
            ("1500e-3", "1.5"),
            ("100u", "100000n"),
            ("0.1Ki", "102.4"),
            ("1000000000n", "1"),
        ] {
            let read = |text: &str| text.parse::<Quantity>().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(read(one), read(other), "{one} {other}");
            assert!(Quantity::same(&json!(one), &json!(other)), "{one} {other}");
        }
        assert!(Quantity::same(&json!(10), &json!("10")) && Quantity::same(&json!(1.5), &json!("1500m")));
    }

    #[test]
    fn other_amounts_are_other_amounts() {
        let ordered =
            ["0", "1n", "1m", "999m", "1", "1.001", "1k", "1Ki", "1M", "1Mi", "1G", "1Gi", "7E", "7Ei"];
        let read: Vec<Quantity> = ordered.iter().map(|text| text.parse().unwrap()).collect();
        assert!(read.windows(2).all(|pair| pair[0] < pair[1]), "{read:?}");
        assert!(
            "3k".parse::<Quantity>().unwrap().is_whole() && !"1500m".parse::<Quantity>().unwrap().is_whole()
        );
        assert!(!Quantity::same(&json!("1"), &json!("2")));
        for (one, other) in
            [(json!("x"), json!("x")), (json!(null), json!(null)), (json!(["1"]), json!(["1"]))]
        {
            assert!(!Quantity::same(&one, &other));
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "-1",
            "--1",
            "1 ",
            " 1",
            "1K",
            "1mi",
            "1ki",
            "1.2.3",
            ".",
            "Gi",
            "1e",
            "1e+",
            "1e-",
            "1e100",
            "1Gi2",
            "1é",
            "١",
            "0.0000000001",
            "8Ei",
            "9223372036854775808",
            "99999999999999999999999999999999999999999",
            "1E99",
            "+",
            "1_000",
            "0x10",
            "NaN",
            "inf",
            "1e1e1",
            "1e--1",
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(NoQuantity), "{text:?}");
        }
    }
}
