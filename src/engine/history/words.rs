//! Events in plain words.

use super::{Cell, Event, Operation, Overwritten, Resolution, What, Written};
use crate::engine::record::Direction;

/// Longer values are cut in words; the event itself has them whole.
const SHOWN_CHARS_MAX: usize = 80;

impl Event {
    /// Says in one sentence what happened; `a` and `b` are the names of the two ends.
    pub fn words(&self, a: &str, b: &str) -> String {
        let (from, to) = match self.direction {
            Some(Direction::BToA) => (b, a),
            Some(Direction::AToB) | None => (a, b),
        };
        match &self.what {
            What::Written(written) => written.words(from, to),
            What::Failed(failure) => {
                format!("attempt {} to write to {to} failed: {}", self.attempt, failure.message)
            }
            What::Dead(failure) => format!(
                "became a dead letter on its way from {from} to {to}: {}; mend it and retry",
                failure.message
            ),
            What::Held { rule } => format!("the rule {rule} began to hold it back on its way to {to}"),
            What::Released { rule } => {
                format!("the rule {rule} no longer held it back on its way to {to}")
            }
            What::Conflict(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|field| {
                        format!("{} ({} at {a}, {} at {b})", field.a_field, field.a.words(), field.b.words())
                    })
                    .collect();
                format!("both sides changed {}; it waits for somebody to pick", fields.join(", "))
            }
            What::Resolved(fields) => {
                let fields: Vec<String> = fields.iter().map(|field| field.words(a, b)).collect();
                format!("somebody settled the conflict: {}", fields.join(", "))
            }
            What::Forgotten => "neither side had the record any more, so the pair was forgotten".to_owned(),
        }
    }
}

impl Written {
    fn words(&self, from: &str, to: &str) -> String {
        let by = if self.asked { "on request, " } else { "" };
        match self.operation {
            Operation::Create => format!("{by}created it at {to} from {from}"),
            Operation::Delete => format!(
                "{by}deleted it at {to}, which had {}",
                list(&self.fields, |field| { format!("{} {}", field.name, field.before.words()) })
            ),
            Operation::Update => {
                let fields = list(&self.fields, |field| field.words(from, to));
                format!("{by}updated {to} from {from}: {fields}")
            }
        }
    }
}

impl Overwritten {
    fn words(&self, from: &str, to: &str) -> String {
        let mut words = format!("{} {} → {}", self.name, self.before.words(), self.sent.words());
        if let Some(stored) = &self.stored {
            words.push_str(&format!(" (stored as {})", stored.words()));
        }
        match (&self.policy, &self.agreed) {
            (Some(policy), Some(agreed)) => words.push_str(&format!(
                " (both had changed it from {}; the policy {policy} decided, and {}'s value lost)",
                agreed.words(),
                to
            )),
            (Some(policy), None) => words.push_str(&format!(
                " (at first contact both had a value; the policy {policy} decided for {from})"
            )),
            (None, Some(agreed)) => {
                words.push_str(&format!(" ({to} had changed it from {})", agreed.words()));
            }
            (None, None) => {}
        }
        words
    }
}

impl Resolution {
    fn words(&self, a: &str, b: &str) -> String {
        match (self.pick.as_deref(), &self.value) {
            (Some("a"), _) => format!("{} as at {a}", self.a_field),
            (Some(_), _) => format!("{} as at {b}", self.b_field),
            (None, value) => {
                let value = value.as_ref().map(Cell::words).unwrap_or_default();
                format!("{} is {value}", self.a_field)
            }
        }
    }
}

impl Cell {
    /// Returns the value as one reads it in a sentence.
    pub fn words(&self) -> String {
        if self.0.is_missing() {
            return "nothing".to_owned();
        }
        let text = self.shown().to_string();
        if text.chars().count() <= SHOWN_CHARS_MAX {
            return text;
        }
        let head: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        format!("{head}…")
    }
}

fn list(fields: &[Overwritten], words: impl Fn(&Overwritten) -> String) -> String {
    fields.iter().map(words).collect::<Vec<String>>().join(", ")
}
