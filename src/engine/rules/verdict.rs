//! Every rule of a direction asked about one record, for whoever wants to know why it stays where it is.

use std::cmp::Ordering;

use super::compiled::Invalid;
use super::condition::{Condition, Test};
use super::way::{Guard, Way};
use crate::engine::record::{Image, Value, write_json};

/// Longer values are cut in words.
const SHOWN_CHARS_MAX: usize = 80;

/// What one rule says of one record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// As statuses name it: `filters.status`.
    pub rule: String,
    /// It lets the record through.
    pub passes: bool,
    /// In words, with the value that it looked at.
    pub words: String,
}

impl Way {
    /// Asks all rules, in the order of [`Way::admits`], also those behind the first that holds the record
    /// back; then whether it can be mapped.
    pub fn verdicts(&self, from: &Image, other: Option<&Image>) -> Vec<Verdict> {
        let (values, _) = self.normalised(&from.values);
        let mut verdicts = Vec::new();
        for guard in &self.filters {
            let value = guard.value(&values, other);
            let words = format!("{} must {}", field(guard, from), wanted(&guard.condition));
            verdicts.push(verdict(guard, guard.condition.holds(value), &words, value));
        }
        if let Some(when) = &self.when {
            let (passes, words) = match when.test(&values) {
                Ok(true) => (true, "the expression holds".to_owned()),
                Ok(false) => (false, "the expression does not hold".to_owned()),
                Err(reason) => (false, format!("the expression can't be evaluated: {reason}")),
            };
            verdicts.push(Verdict { rule: "when".to_owned(), passes, words });
        }
        for guard in &self.required {
            let value = guard.value(&values, other);
            let words = format!("{} must not be empty", field(guard, from));
            verdicts.push(verdict(guard, !value.is_blank(), &words, value));
        }
        for guard in &self.disallow {
            let value = guard.value(&values, other);
            let words = format!("{} must not {}", field(guard, from), wanted(&guard.condition));
            verdicts.push(verdict(guard, !guard.condition.holds(value), &words, value));
        }
        if let Err(Invalid { field, rule, reason }) = self.map(from) {
            verdicts.push(Verdict { rule, passes: false, words: format!("{field}: {reason}") });
        }
        verdicts
    }
}

fn verdict(guard: &Guard, passes: bool, words: &str, value: &Value) -> Verdict {
    let words = format!("{words}; it is {}", shown(value));
    Verdict { rule: guard.rule.clone(), passes, words }
}

fn field<'n>(guard: &'n Guard, from: &'n Image) -> &'n str {
    let own = guard.at.and_then(|at| from.shape.name(at));
    own.or_else(|| guard.rule.rsplit('.').next()).unwrap_or_default()
}

/// Says what a condition asks for, behind "must" or "must not".
fn wanted(condition: &Condition) -> String {
    match condition {
        Condition::Is(value) => format!("be {}", shown(value)),
        Condition::AnyOf(values) => format!("be one of {}", list(values)),
        Condition::All(tests) => {
            let tests: Vec<String> = tests.iter().map(asked).collect();
            tests.join(" and ")
        }
    }
}

fn asked(test: &Test) -> String {
    match test {
        Test::Eq(value) => format!("be {}", shown(value)),
        Test::Ne(value) => format!("be other than {}", shown(value)),
        Test::Ordered(one, other, bound) => {
            let or_equal = [one, other].contains(&&Ordering::Equal);
            let word = match (one, other) {
                (Ordering::Less, _) | (_, Ordering::Less) => "less than",
                _ => "greater than",
            };
            format!("be {word} {}{}", if or_equal { "or equal to " } else { "" }, shown(bound))
        }
        Test::In(values) => format!("be one of {}", list(values)),
        Test::NotIn(values) => format!("be none of {}", list(values)),
        Test::Contains(value) => format!("contain {}", shown(value)),
        Test::Matches(pattern) => format!("match {pattern}"),
        Test::Exists(true) => "be there".to_owned(),
        Test::Exists(false) => "not be there".to_owned(),
    }
}

fn list(values: &[Value]) -> String {
    values.iter().map(shown).collect::<Vec<String>>().join(", ")
}

fn shown(value: &Value) -> String {
    if value.is_missing() {
        return "not there".to_owned();
    }
    let mut text = String::new();
    write_json(value, &mut text);
    if text.chars().count() > SHOWN_CHARS_MAX {
        text = text.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect();
    }
    text
}
