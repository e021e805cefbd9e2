//! Finds the sources and what they name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::blank;

/// Returns the project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One file under `src`.
pub struct Source {
    /// From the project's folder, with `/`.
    pub path: String,
    pub text: String,
    /// The text without comments, strings and tests.
    code: String,
    /// The module that the file is: `["engine", "record", "value"]`.
    module: Vec<String>,
}

/// A path into this crate, and the line where it stands.
pub struct Used {
    pub path: Vec<String>,
    pub line: usize,
}

/// Reads every file under `src`, once.
pub fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let mut files = Vec::new();
        walk(&root().join("src"), &mut files);
        files.sort();
        files.into_iter().map(Source::read).collect()
    });
    &SOURCES
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    fn read(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let mut module: Vec<String> =
            path.trim_start_matches("src/").trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        module.pop_if(|last| last == "mod" || last == "lib");
        let source = Self { path, text, code: String::new(), module };
        if source.is_test() {
            return source;
        }
        let code = blank::without_tests(&blank::without_comments_and_strings(&source.text));
        Self { code, ..source }
    }

    /// Tells whether only tests include the file: `tests.rs`, or anything in a folder `tests`.
    pub fn is_test(&self) -> bool {
        self.module.iter().any(|name| name == "tests")
    }

    /// Returns the floor that the file stands on.
    pub fn floor(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// Returns the connector that the file belongs to.
    pub fn connector(&self) -> Option<String> {
        match self.module.as_slice() {
            [floor, name, ..] if floor == "connectors" => Some(name.clone()),
            _ => None,
        }
    }

    /// Returns every path into this crate: `crate::…`, `record_sync::…`, and `super::…` as far as it
    /// leads; groups taken apart.
    pub fn crate_paths(&self) -> Vec<Used> {
        let mut found = Vec::new();
        for (at, word) in words(&self.code) {
            let base: Vec<String> = match word {
                "crate" | "record_sync" => Vec::new(),
                "super" if !self.follows_path(at) => {
                    // Inside an inline module it leads one step less far; those hold no imports here.
                    self.module[..self.module.len().saturating_sub(1)].to_vec()
                }
                _ => continue,
            };
            let rest = &self.code[at + word.len()..];
            let line = self.line(at);
            if !self.follows_path(at) && rest.trim_start().starts_with("::") {
                follow(base, rest, line, &mut found);
            }
        }
        found
    }

    /// Returns the outside crates that the file names, with the line of the first time.
    pub fn outside_crates(&self, dependencies: &BTreeSet<String>) -> Vec<(String, usize)> {
        let mut found: Vec<(String, usize)> = Vec::new();
        for (at, word) in words(&self.code) {
            if !dependencies.contains(word) || found.iter().any(|(name, _)| name == word) {
                continue;
            }
            let after = self.code[at + word.len()..].trim_start();
            let global = self.code[..at].ends_with("::") && !self.code[..at - 2].ends_with(is_word);
            let is_path = after.starts_with("::") && (!self.follows_path(at) || global);
            let is_import = self.code[..at].ends_with("use ") && after.starts_with([';', ' ']);
            if (is_path || is_import) && (global || !self.declares(word)) {
                found.push((word.to_owned(), self.line(at)));
            }
        }
        found
    }

    /// Returns the lines where a path such as `std::fs` stands, in a group or alone.
    pub fn lines_with_path(&self, path: &str) -> Vec<usize> {
        let parts: Vec<&str> = path.split("::").collect();
        let mut found = Vec::new();
        for (at, word) in words(&self.code) {
            if word == parts[0] && !self.follows_path(at) {
                let mut used = Vec::new();
                follow(Vec::new(), &self.code[at + word.len()..], self.line(at), &mut used);
                let leads = |used: &Used| used.path.iter().zip(&parts[1..]).filter(|(a, b)| a == b).count();
                found.extend(used.iter().filter(|used| leads(used) == parts.len() - 1).map(|used| used.line));
            }
        }
        found
    }

    /// Tells whether the file has a module or an import of its own under this name.
    fn declares(&self, name: &str) -> bool {
        let ends = |text: &str| !text.starts_with(is_word);
        let declared = |prefix: &str| {
            let word = format!("{prefix}{name}");
            self.code.match_indices(&word).any(|(at, _)| ends(&self.code[at + word.len()..]))
        };
        let imported = |(at, word): (usize, &str)| {
            let before = &self.code[..at];
            word == name && (before.trim_end().ends_with("super::") || before.ends_with("crate::"))
        };
        declared("mod ") || words(&self.code).into_iter().any(imported)
    }

    fn follows_path(&self, at: usize) -> bool {
        self.code[..at].trim_end().ends_with("::")
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Splits code into words, with their places.
fn words(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, letter) in code.char_indices().chain(std::iter::once((code.len(), ' '))) {
        match (is_word(letter), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                found.push((from, &code[from..at]));
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// Follows `::a::b`, `::{a::b, c}` and further `super`s behind a base.
fn follow(mut base: Vec<String>, rest: &str, line: usize, found: &mut Vec<Used>) {
    let mut rest = rest.trim_start();
    while let Some(after) = rest.strip_prefix("::") {
        let after = after.trim_start();
        if let Some(group) = after.strip_prefix('{') {
            for part in group_parts(group) {
                let part = part.trim();
                let (first, more) = part.split_at(part.find(|l| !is_word(l)).unwrap_or(part.len()));
                let mut path = base.clone();
                match first {
                    "super" => drop(path.pop()),
                    first => path.push(first.to_owned()),
                }
                follow(path, more, line, found);
            }
            return;
        }
        let (word, more) = after.split_at(after.find(|l| !is_word(l)).unwrap_or(after.len()));
        match word {
            "super" => {
                base.pop();
            }
            "" => break,
            word => base.push(word.to_owned()),
        }
        rest = more.trim_start();
    }
    found.push(Used { path: base, line });
}

/// Splits the inside of a group at its own commas.
fn group_parts(group: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut from) = (0_i32, 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// Returns the names under which the manifest's dependencies are used.
pub fn names_in_manifest() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    dependencies.keys().map(|name| name.replace('-', "_")).collect()
}

/// Returns the texts that git tracks, or, outside of a checkout, all but what is made while working.
pub fn tracked_texts() -> Vec<(String, String)> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let names = match listed {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        // A source archive: the code is what matters.
        _ => sources().iter().map(|source| format!("{}\0", source.path)).collect(),
    };
    let texts = names.split_terminator('\0').filter_map(|name| {
        let text = std::fs::read_to_string(root().join(name)).ok()?;
        Some((name.to_owned(), text))
    });
    texts.collect()
}

/// Tells whether a line has an absolute path that begins with `place`.
pub fn has_absolute_path(line: &str, place: &str) -> bool {
    let begins = |at: usize| !line[..at].ends_with(|l: char| is_word(l) || "./}*~>-".contains(l));
    line.match_indices(place).any(|(at, _)| begins(at))
}

#[test]
fn paths_are_taken_apart() {
    let source = |code: &str| Source {
        path: String::new(),
        text: String::new(),
        code: code.to_owned(),
        module: ["connectors", "file", "source"].map(str::to_owned).to_vec(),
    };
    let cases = [
        ("use crate::{a::{b, c}, d};", vec!["a::b", "a::c", "d"], "nested groups"),
        ("let x = crate::store::open();", vec!["store::open"], "in the middle of code"),
        ("use super::super::sqlite::X;", vec!["connectors::sqlite::X"], "towards a sibling"),
        (
            "use super::{a, super::b};",
            vec!["connectors::file::a", "connectors::b", "connectors::file::b"],
            "a group: the inner `super` is counted from both places",
        ),
        ("use other::crate_name;", vec![], "a word that only begins like it"),
    ];
    for (code, expected, why) in cases {
        let got: Vec<String> = source(code).crate_paths().iter().map(|used| used.path.join("::")).collect();
        assert_eq!(got, expected, "{why}");
    }
    assert_eq!(source("use std::{fs, io};").lines_with_path("std::fs"), [1]);
    assert!(source("use std::time::Duration;").lines_with_path("std::time::Instant").is_empty());
    let dependencies = ["metrics", "url"].map(str::to_owned).into();
    assert_eq!(source("::metrics::counter!()").outside_crates(&dependencies).len(), 1);
    assert_eq!(source("mod url; url::x()").outside_crates(&dependencies).len(), 0, "a module of that name");
}
