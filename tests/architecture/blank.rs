//! Blanks out what is no shipping code: comments, strings, `#[cfg(test)]` items. Lines stay where
//! they are.

/// Returns the text with comments, string and character literals replaced by spaces.
pub fn without_comments_and_strings(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = literal_end(&letters, at);
        if end == at {
            kept.push(letters[at]);
            at += 1;
            continue;
        }
        kept.extend(letters[at..end].iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    kept
}

/// Returns where the comment or literal that begins at `at` ends; `at` where none begins.
fn literal_end(letters: &[char], at: usize) -> usize {
    let rest = &letters[at..];
    let starts = |word: &str| rest.iter().zip(word.chars()).filter(|(a, b)| **a == *b).count() == word.len();
    let within_word = at > 0 && (letters[at - 1].is_alphanumeric() || letters[at - 1] == '_');
    let length = match rest[0] {
        '/' if starts("//") => rest.iter().position(|letter| *letter == '\n').unwrap_or(rest.len()),
        '/' if starts("/*") => block_comment(rest),
        '"' => quoted(rest),
        'r' | 'b' | 'c' if !within_word => raw_or_prefixed(rest),
        '\'' => character(rest),
        _ => 0,
    };
    at + length.min(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match (rest[at], rest.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `b'…'`, `c"…"`; 0 where it is a plain word.
fn raw_or_prefixed(rest: &[char]) -> usize {
    let prefix = rest.iter().take_while(|letter| matches!(letter, 'r' | 'b' | 'c')).count();
    if prefix > 2 {
        return 0;
    }
    let raw = rest[..prefix].contains(&'r');
    let hashes = rest[prefix..].iter().take_while(|letter| **letter == '#').count();
    match rest.get(prefix + hashes) {
        Some('"') if raw => {
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body = prefix + hashes + 1;
            let found = rest[body..].windows(close.len()).position(|part| part == close);
            found.map_or(rest.len(), |at| body + at + close.len())
        }
        Some('"') if hashes == 0 => prefix + quoted(&rest[prefix..]),
        Some('\'') if hashes == 0 && rest[0] == 'b' => prefix + character(&rest[prefix..]),
        _ => 0,
    }
}

/// A character literal; 0 for a lifetime.
fn character(rest: &[char]) -> usize {
    match (rest.get(1), rest.get(2)) {
        (Some('\\'), _) => rest[2..].iter().skip(1).position(|l| *l == '\'').map_or(0, |at| at + 4),
        (Some(_), Some('\'')) => 3,
        _ => 0,
    }
}

/// Blanks out every item under `#[cfg(test)]`, in text that has no comments and strings any more.
pub fn without_tests(text: &str) -> String {
    let mut kept = text.to_owned();
    let mut from = 0;
    while let Some(at) = kept[from..].find("#[cfg(test)]").map(|at| from + at) {
        let end = item_end(&kept, at);
        let blank: String = kept[at..end].chars().map(|l| if l == '\n' { '\n' } else { ' ' }).collect();
        kept.replace_range(at..end, &blank);
        from = at + blank.len();
    }
    kept
}

/// An item ends with its block, or with the semicolon where it has none.
fn item_end(text: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, letter) in text[at..].char_indices() {
        match letter {
            ';' if depth == 0 => return at + offset + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + offset + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[test]
fn what_ships_is_kept_and_the_rest_is_blank() {
    let cases = [
        ("use a; // use b;", "use a;", "a line comment"),
        ("/* use /* b */ c */ use a;", "use a;", "nested comments"),
        (r#"let x = "use b; \" c"; d"#, "let x = ; d", "a string with an escape"),
        (r##"let x = r#"use " b"#; d"##, "let x = ; d", "a raw string"),
        ("let x = b'\"'; 'a: loop {}", "let x = ; 'a: loop {}", "a byte and a lifetime"),
        (r"let x = '\''; let y = '\u{1b}'; d", "let x = ; let y = ; d", "characters with escapes"),
        ("let rust = bar;", "let rust = bar;", "words that begin like prefixes"),
        ("a #[cfg(test)] mod tests { use b; { } } c", "a c", "a test module"),
        ("a #[cfg(test)] use b; c", "a c", "a test import"),
    ];
    for (text, expected, why) in cases {
        let got = without_tests(&without_comments_and_strings(text));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&got).join(" ").replace(" ;", ";"), expected.replace(" ;", ";"), "{why}");
        assert_eq!(got.chars().count(), text.chars().count(), "{why}: places stay");
    }
}
