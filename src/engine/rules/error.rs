//! What is wrong with a rules file, where, and what to write instead.

use std::fmt;
use std::sync::Arc;

use crate::engine::fault::Fault;

/// One fault of a rules file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesError {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// The place as a JSON pointer (RFC 6901); empty for the file as a whole.
    pub pointer: String,
    pub message: String,
    /// What to write instead, where that can be said.
    pub remedy: Option<String>,
}

impl RulesError {
    /// Writes the error as `file:line:column: message; remedy`, as editors and terminals link it.
    pub fn in_file(&self, file: &str) -> String {
        format!("{file}:{self}")
    }

    /// Says that the fields of the streams are only known as they were when the link was opened.
    pub fn under_doubt(mut self, fault: &Fault) -> Self {
        let doubt = format!(
            "whether that is still so can't be asked now ({fault}): try again when both systems answer"
        );
        self.remedy = Some(self.remedy.map_or_else(|| doubt.clone(), |remedy| format!("{remedy} — {doubt}")));
        self
    }
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RulesError {}

/// A place in a rules file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub line: u32,
    pub column: u32,
    pub pointer: Arc<str>,
}

impl Spot {
    /// Names the beginning of the file.
    pub fn start() -> Self {
        Self { line: 1, column: 1, pointer: Arc::from("") }
    }

    /// Makes an error at this place.
    pub fn error(&self, message: impl Into<String>) -> RulesError {
        RulesError {
            line: self.line,
            column: self.column,
            pointer: self.pointer.to_string(),
            message: message.into(),
            remedy: None,
        }
    }

    /// Makes an error at this place that says what to write instead.
    pub fn remedied(&self, message: impl Into<String>, remedy: impl Into<String>) -> RulesError {
        RulesError { remedy: Some(remedy.into()), ..self.error(message) }
    }

    /// Makes an error about a word that is none of the words known here.
    pub fn unknown<'w>(
        &self,
        what: &str,
        word: &str,
        known: impl IntoIterator<Item = &'w str>,
    ) -> RulesError {
        let known: Vec<&str> = known.into_iter().collect();
        let remedy = match nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "remove it".to_owned(),
            None => format!("write one of: {}", known.join(", ")),
        };
        self.remedied(format!("unknown {what} `{word}`"), remedy)
    }
}

/// Finds the known word that is meant most likely: at most a third of its letters differ.
pub(super) fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (edits(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(edits, candidate)| *edits <= 1.max(candidate.chars().count() / 3))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Counts the insertions, deletions, replacements and swaps of neighbours between two words.
fn edits(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut cost = cell(&above, j) + usize::from(l != r);
            cost = cost.min(cell(&above, j + 1) + 1).min(cell(&row, j) + 1);
            let swapped = i > 0 && j > 0 && left.get(i - 1) == Some(r) && right.get(j - 1) == Some(l);
            if swapped {
                cost = cost.min(cell(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    cell(&above, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word() {
        // (word, known, found, why)
        let cases = [
            ("filtres", &["filters", "mappings"][..], Some("filters"), "swapped letters"),
            ("mapping", &["filters", "mappings"], Some("mappings"), "singular"),
            ("Email", &["email", "name"], Some("email"), "case"),
            ("gt", &["gte", "lt"], Some("gte"), "one letter"),
            ("colour", &["email", "name"], None, "nothing like it"),
            ("", &["email"], None, "nothing at all"),
        ];
        for (word, known, found, why) in cases {
            assert_eq!(nearest(word, known.iter().copied()), found, "{why}");
        }
    }
}
