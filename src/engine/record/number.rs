//! Numbers that keep their exact text.

use compact_str::CompactString;

use super::Value;

/// A JSON number in the text it came in: 2^64, a decimal of 38 digits and 1e400 alike.
///
/// Invariant: the text follows the JSON grammar for numbers. Equality is by amount: `1.0`, `1` and
/// `10e-1` are equal, and so are `0` and `-0.0` (most stores drop the sign of zero).
#[derive(Clone, Debug)]
pub struct Number(CompactString);

impl Number {
    /// Reads a JSON number; gives [`Value::Int`] for a plain integer that fits, else
    /// [`Value::Number`]; `None` for anything else (leading zeros, a plus sign, spaces).
    pub fn parse(text: &str) -> Option<Value> {
        if !is_json_number(text.as_bytes()) {
            return None;
        }
        let plain = !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        match (plain, text.parse::<i64>()) {
            (true, Ok(int)) if text != "-0" => Some(Value::Int(int)),
            _ => Some(Value::Number(Self(CompactString::new(text)))),
        }
    }

    /// Gives the value of a float: its shortest exact text; `None` for NaN and infinities.
    pub fn from_f64(float: f64) -> Option<Value> {
        if !float.is_finite() {
            return None;
        }
        // With a point or an exponent always, and so never a plain integer; in JSON's grammar.
        let text = short(float).unwrap_or_else(|| compact_str::format_compact!("{float:?}"));
        Some(Value::Number(Self(text)))
    }

    /// Returns the exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the nearest float; infinite where the amount is out of its range.
    pub fn to_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// Tells whether the amount is this integer.
    pub fn equals_int(&self, int: i64) -> bool {
        let mut buffer = CompactString::default();
        use std::fmt::Write;
        // Writing into a string can't fail.
        let _ = write!(buffer, "{int}");
        amount(&self.0) == amount(&buffer)
    }

    /// Returns the integer text where the amount is whole and of at most 64 digits.
    pub fn to_integer_text(&self) -> Option<CompactString> {
        let (negative, digits, exponent) = amount(&self.0);
        let zeros = usize::try_from(exponent).ok().filter(|zeros| digits.len() + zeros <= 64)?;
        let mut text = CompactString::default();
        if digits.is_empty() {
            return Some(CompactString::const_new("0"));
        }
        if negative {
            text.push('-');
        }
        text.push_str(&digits);
        text.extend(std::iter::repeat_n('0', zeros));
        Some(text)
    }
}

/// Decimal places of what [`short`] writes, and the power of ten that they are.
const PLACES: usize = 3;
const THOUSAND: f64 = 1000.0;
/// Two decimals of at most 15 digits are never the same float.
const SHORT_MAX: u64 = 1_000_000_000_000_000;

/// Returns the shortest exact text of a float with few decimal places, as amounts and scores are, at a tenth of what the
/// general way costs; `None` for others.
///
/// Such a float is a whole number of thousandths: the division gives the float nearest to that decimal, since both of its
/// numbers are exact. No other decimal of at most 15 digits is nearest to the same float, so that without its last zeros it
/// is the shortest.
fn short(float: f64) -> Option<CompactString> {
    let thousandths = float * THOUSAND;
    let whole = thousandths as i64;
    let is_exact = whole as f64 == thousandths && whole as f64 / THOUSAND == float;
    // Zero has a sign that an integer does not show.
    if !is_exact || whole == 0 || whole.unsigned_abs() >= SHORT_MAX {
        return None;
    }
    let mut text = CompactString::default();
    if whole < 0 {
        text.push('-');
    }
    let mut rest = whole.unsigned_abs();
    let mut digits = [b'0'; 20];
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        // Zeros in front of the point are written, up to one.
        if rest == 0 && count > PLACES {
            break;
        }
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    let (_, digits) = digits.split_at(digits.len() - count);
    let (units, places) = digits.split_at(count - PLACES);
    let places = std::str::from_utf8(places).ok()?.trim_end_matches('0');
    text.push_str(std::str::from_utf8(units).ok()?);
    text.push('.');
    text.push_str(if places.is_empty() { "0" } else { places });
    Some(text)
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || amount(&self.0) == amount(&other.0)
    }
}

impl Eq for Number {}

/// Gives (negative, digits without zeros at either end, power of ten of the last digit).
fn amount(text: &str) -> (bool, String, i64) {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, saturating_exponent(exponent)),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let joined = format!("{whole}{fraction}");
    let stripped = joined.trim_start_matches('0');
    let digits = stripped.trim_end_matches('0');
    if digits.is_empty() {
        return (false, String::new(), 0);
    }
    let dropped = stripped.len() - digits.len();
    let shift = dropped as i64 - fraction.len() as i64;
    (negative, digits.to_owned(), exponent.saturating_add(shift))
}

/// Reads an exponent; one that no `i64` holds is as good as endless.
fn saturating_exponent(text: &str) -> i64 {
    text.trim_start_matches('+').parse().unwrap_or(if text.starts_with('-') {
        i64::MIN / 2
    } else {
        i64::MAX / 2
    })
}

/// Checks the grammar of RFC 8259 §6.
fn is_json_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = split_digits(text);
    let whole_ok = matches!(whole, [b'0'] | [b'1'..=b'9', ..]);
    let (fraction_ok, rest) = match rest.strip_prefix(b".") {
        Some(rest) => {
            let (digits, rest) = split_digits(rest);
            (!digits.is_empty(), rest)
        }
        None => (true, rest),
    };
    let exponent_ok = match rest {
        [] => true,
        [b'e' | b'E', rest @ ..] => {
            let rest = rest.strip_prefix(b"+").or_else(|| rest.strip_prefix(b"-")).unwrap_or(rest);
            let (digits, rest) = split_digits(rest);
            !digits.is_empty() && rest.is_empty()
        }
        _ => false,
    };
    whole_ok && fraction_ok && exponent_ok
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_by_amount_and_keep_their_text() {
        // (left, right, equal, why)
        let cases = [
            ("1", "1.0", true, "trailing zeros say nothing"),
            ("10e-1", "1", true, "an exponent is only notation"),
            ("-0.0", "0", true, "most stores drop the sign of zero"),
            ("9007199254740993", "9007199254740992", false, "2^53+1 is not 2^53"),
            ("18446744073709551615", "18446744073709551616", false, "u64 ends"),
            ("1e400", "1e401", false, "beyond any float, still told apart"),
            ("0.1", "0.10000000000000000000001", false, "decimals are not floats"),
        ];
        for (left, right, equal, why) in cases {
            let (left, right) = (Number::parse(left), Number::parse(right));
            assert_eq!(left == right, equal, "{why}: {left:?} {right:?}");
        }
    }

    #[test]
    fn the_text_of_a_float_is_its_shortest() {
        let texts = [
            "0.0",
            "-0.0",
            "1.0",
            "-1.0",
            "0.001",
            "-0.001",
            "0.125",
            "0.12",
            "0.1",
            "100.0",
            "12.34",
            "0.0001",
            "999999999999.999",
            "-999999999999.999",
            "1000000000000.0",
            "1e16",
            "1e-7",
            "1234567.891",
            "0.3",
            "0.30000000000000004",
            "9007199254740993.0",
            "5e-324",
            "1.7976931348623157e308",
        ];
        for text in texts {
            let float: f64 = text.parse().expect("a float");
            let found = Number::from_f64(float).expect("finite");
            assert_eq!(found.to_plain().as_deref(), Some(format!("{float:?}").as_str()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_to_a_text_is_the_general_one(
            thousandths in -2_000_000_000_000_000_i64..2_000_000_000_000_000, places in 0..8, bits: u64
        ) {
            let decimal = thousandths as f64 / 10f64.powi(places);
            for float in [decimal, decimal * 3.0, f64::from_bits(bits), f64::from_bits(decimal.to_bits() + 1)] {
                if let Some(text) = short(float) {
                    proptest::prop_assert_eq!(text.as_str(), format!("{float:?}"));
                }
            }
        }
    }

    #[test]
    fn only_json_numbers_are_numbers() {
        for text in ["", "-", "01", "+1", " 1", "1.", ".5", "1e", "0x1", "NaN", "1_000"] {
            assert!(Number::parse(text).is_none(), "{text:?}");
        }
    }
}
