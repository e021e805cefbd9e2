//! What is wrong in a configuration, where, and what to write instead.
//!
//! Invariant: no rendering of a problem shows the value of a secret setting.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::secret;

/// Where a problem stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole: it can't be read.
    File,
    /// Bytes of the file.
    Span { start: usize, end: usize },
    /// A variable of the environment, or the flag of the same setting.
    Environment(String),
}

impl From<&Range<usize>> for Place {
    fn from(span: &Range<usize>) -> Self {
        Self::Span { start: span.start, end: span.end }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub place: Place,
    pub message: String,
    pub remedy: String,
}

/// Everything that is wrong in one file, in the file's order, never empty.
///
/// `Display` gives one plain line a problem, `file:line:column: message; remedy`, for logs and pipes.
#[derive(Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file's name as the user gave it.
    pub file: String,
    pub list: Vec<Problem>,
    /// The file's text with secrets struck out.
    source: String,
}

impl Problems {
    /// Collects problems: sorts them by place and drops repetitions, which come up because every
    /// customer is laid over the same defaults.
    pub fn new(file: String, text: &str, mut list: Vec<Problem>) -> Self {
        list.sort();
        list.dedup();
        Self { file, source: secret::mask_toml(text), list }
    }

    /// Returns the problems in the plain form, one a line.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.list.iter().map(|problem| self.line(problem))
    }

    /// Returns the problems with the lines of the file that they stand in, for a terminal.
    pub fn pretty(&self) -> String {
        let renderer = Renderer::styled();
        let blocks: Vec<String> = self.list.iter().map(|problem| self.snippet(problem, &renderer)).collect();
        blocks.join("\n\n")
    }

    fn line(&self, problem: &Problem) -> String {
        let Problem { place, message, remedy } = problem;
        match place {
            Place::File => format!("{}: {message}; {remedy}", self.file),
            Place::Environment(name) => format!("{name}: {message}; {remedy}"),
            Place::Span { start, .. } => {
                let (line, column) = line_and_column(&self.source, *start);
                format!("{}:{line}:{column}: {message}; {remedy}", self.file)
            }
        }
    }

    fn snippet(&self, problem: &Problem, renderer: &Renderer) -> String {
        let Place::Span { start, end } = problem.place else {
            let title = Level::ERROR.primary_title(self.line(problem));
            return renderer.render(&[annotate_snippets::Group::with_title(title)]);
        };
        // A table's span may go on for many lines; the first one says enough.
        let rest = self.source.get(start..end).unwrap_or_default();
        let end = start + rest.lines().next().map_or(0, str::len);
        let snippet = Snippet::source(self.source.as_str())
            .path(self.file.as_str())
            .annotation(AnnotationKind::Primary.span(start..end));
        let group = Level::ERROR
            .primary_title(problem.message.as_str())
            .element(snippet)
            .element(Level::HELP.message(problem.remedy.as_str()));
        renderer.render(&[group])
    }
}

/// Counts lines and columns from 1; columns are characters, as editors show them.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.lines().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problems {}

/// Finds the known word that a wrong one was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Two slips in a short word make another word; a third of its letters is the usual measure.
    let bound = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_from_one() {
        let cases = [
            ("abc", 0, (1, 1), "the start"),
            ("abc\ndef", 4, (2, 1), "after a line break"),
            ("é = 1", 3, (1, 3), "two bytes are one character"),
            ("abc", 3, (1, 4), "the end of the file"),
        ];
        for (text, at, expected, why) in cases {
            assert_eq!(line_and_column(text, at), expected, "{why}");
        }
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let known = ["max_requests", "window_size", "path", "listen"];
        let cases = [
            ("max_request", Some("max_requests"), "a letter is missing"),
            ("windwo_size", Some("window_size"), "letters are swapped"),
            ("pth", Some("path"), "short words allow one slip"),
            ("zzz", None, "nothing is near"),
        ];
        for (word, expected, why) in cases {
            assert_eq!(nearest(word, known), expected, "{why}");
        }
    }
}
