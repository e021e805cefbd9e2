//! Which of two values is greater, exactly.

use std::cmp::Ordering;

use crate::engine::record::{Number, Value};

/// Compares two values: numbers (and texts that are numbers, where the other is one) by amount to
/// the last digit, texts by their bytes, which is also right for ISO dates; `None` where the two
/// can't be compared.
pub fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Text(text), number @ (Value::Int(_) | Value::Number(_))) => {
            compare_numbers(&Number::parse(text.trim())?, number)
        }
        (number @ (Value::Int(_) | Value::Number(_)), Value::Text(text)) => {
            compare_numbers(number, &Number::parse(text.trim())?)
        }
        (Value::Int(_) | Value::Number(_), Value::Int(_) | Value::Number(_)) => compare_numbers(left, right),
        _ => None,
    }
}

fn compare_numbers(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        return Some(left.cmp(right));
    }
    let (left, right) = (left.to_plain()?, right.to_plain()?);
    Some(Amount::read(&left).compare(&Amount::read(&right)))
}

/// A decimal as sign, digits without zeros at either end, and the power of ten before which the
/// point stands: 12.5 is `125` with 2, 0.001 is `1` with -2.
struct Amount {
    negative: bool,
    digits: String,
    point: i64,
}

impl Amount {
    /// Reads a text that follows the JSON grammar for numbers.
    fn read(text: &str) -> Self {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        // An exponent that no i64 holds is as good as endless.
        let endless = if exponent.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 };
        let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap_or(endless);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let joined = format!("{whole}{fraction}");
        let stripped = joined.trim_start_matches('0');
        let leading = joined.len() - stripped.len();
        let digits = stripped.trim_end_matches('0').to_owned();
        let point = exponent.saturating_add(whole.len() as i64 - leading as i64);
        Self { negative: negative && !digits.is_empty(), digits, point }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let sign = |amount: &Self| match (amount.digits.is_empty(), amount.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let signs = sign(self).cmp(&sign(other));
        if signs != Ordering::Equal || self.digits.is_empty() {
            return signs;
        }
        let size = self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits));
        if self.negative { size.reverse() } else { size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_to_the_last_digit() {
        use Ordering::{Equal, Greater, Less};
        let number = |text| Number::parse(text).expect("number");
        // (left, right, order, why)
        let cases = [
            (number("1"), number("1.0"), Some(Equal), "trailing zeros say nothing"),
            (number("9007199254740993"), number("9007199254740992.5"), Some(Greater), "beyond 2^53"),
            (number("18446744073709551616"), number("18446744073709551615"), Some(Greater), "beyond u64"),
            (number("-2"), number("-10.5"), Some(Greater), "negative numbers turn round"),
            (number("0.001"), number("1e-2"), Some(Less), "small fractions"),
            (number("1e400"), number("1e401"), Some(Less), "beyond any float"),
            (number("-0.0"), number("0"), Some(Equal), "no sign of zero"),
            (number("99"), number("100"), Some(Less), "by amount, not by text"),
            (Value::text("10"), number("9"), Some(Greater), "text that is a number"),
            (Value::text("2026-01-31"), Value::text("2026-02-01"), Some(Less), "ISO dates"),
            (Value::text("x"), number("9"), None, "a word is no number"),
            (Value::Null, number("9"), None, "null is neither more nor less"),
        ];
        for (left, right, order, why) in cases {
            assert_eq!(compare(&left, &right), order, "{why}");
            assert_eq!(compare(&right, &left), order.map(Ordering::reverse), "{why}, turned round");
        }
    }
}
