//! Transforms of text, letter by letter.

use unicode_normalization::char::is_combining_mark;

/// Makes the first letter of each word large and the others small; words end at white space and
/// hyphens, not at apostrophes (`don't`).
pub(super) fn title_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for char in text.chars() {
        push_cased(&mut out, char, !inside);
        inside = if char.is_whitespace() || char == '-' { false } else { inside || char.is_alphanumeric() };
    }
    out
}

/// Makes the first letter large and all others small.
pub(super) fn capitalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, char) in text.chars().enumerate() {
        push_cased(&mut out, char, at == 0);
    }
    out
}

fn push_cased(out: &mut String, char: char, large: bool) {
    if large {
        out.extend(char.to_uppercase());
    } else {
        out.extend(char.to_lowercase());
    }
}

/// Makes one space of each run of white space, and none of those at either end.
pub(super) fn collapse_spaces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Keeps letters of any script with their accents, digits and white space.
pub(super) fn remove_special_chars(text: &str) -> String {
    text.chars()
        .filter(|&char| char.is_alphanumeric() || char.is_whitespace() || is_combining_mark(char))
        .collect()
}

/// Keeps the first `length` characters, and no base letter without its accents.
pub(super) fn truncate(text: &str, length: usize) -> &str {
    let mut ends = text.char_indices().skip(length).peekable();
    match ends.peek().copied() {
        None => text,
        Some((end, next)) if !is_combining_mark(next) => text.get(..end).unwrap_or(text),
        Some((end, _)) => {
            // The cut would part a letter from its accent: leave both out.
            let kept = text.get(..end).unwrap_or(text);
            kept.trim_end_matches(is_combining_mark)
                .char_indices()
                .next_back()
                .map_or("", |(at, _)| kept.get(..at).unwrap_or(""))
        }
    }
}

/// Tags that break a line or a block: words on both sides stay apart.
const BREAKING: [&str; 19] = [
    "address",
    "article",
    "blockquote",
    "br",
    "div",
    "dd",
    "dt",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "p",
    "section",
    "td",
    "tr",
];

/// Takes tags, comments, scripts and styles out and decodes the entities; what is no tag (`a < b`)
/// stays. White space is collapsed.
pub(super) fn strip_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        rest =
            if found.starts_with('<') { skip_tag(found, &mut out) } else { decode_entity(found, &mut out) };
    }
    out.push_str(rest);
    collapse_spaces(&out)
}

/// Steps over what begins at `<`; gives what follows.
fn skip_tag<'t>(text: &'t str, out: &mut String) -> &'t str {
    let inner = text.get(1..).unwrap_or("");
    if let Some(comment) = inner.strip_prefix("!--") {
        return comment.find("-->").and_then(|end| comment.get(end + 3..)).unwrap_or("");
    }
    let begins = |char: char| char.is_ascii_alphabetic() || matches!(char, '/' | '!' | '?');
    let end = tag_end(inner);
    let (true, Some(end)) = (inner.starts_with(begins), end) else {
        out.push('<');
        return inner;
    };
    let tag = inner.get(..end).unwrap_or("");
    let rest = inner.get(end + 1..).unwrap_or("");
    let name: String = tag
        .trim_start_matches('/')
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .map(|char| char.to_ascii_lowercase())
        .collect();
    if BREAKING.contains(&name.as_str()) {
        out.push(' ');
    }
    if matches!(name.as_str(), "script" | "style") && !tag.starts_with('/') && !tag.ends_with('/') {
        return skip_body(rest, &name);
    }
    rest
}

/// Finds the `>` that ends a tag: not one inside a quoted attribute.
fn tag_end(inner: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in inner.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Steps over a script or a style with its closing tag.
fn skip_body<'t>(text: &'t str, name: &str) -> &'t str {
    let closing = format!("</{name}");
    let lower = text.to_ascii_lowercase();
    let after = lower.find(&closing).and_then(|at| text.get(at..));
    after.and_then(|tag| tag.find('>').and_then(|end| tag.get(end + 1..))).unwrap_or("")
}

/// Decodes what begins at `&`; gives what follows.
fn decode_entity<'t>(text: &'t str, out: &mut String) -> &'t str {
    // No entity that we know is longer than 10 bytes.
    let end = text.bytes().take(12).position(|byte| byte == b';');
    let decoded = end.and_then(|end| text.get(1..end)).and_then(entity);
    match (decoded, end) {
        (Some(char), Some(end)) => {
            out.push(char);
            text.get(end + 1..).unwrap_or("")
        }
        _ => {
            out.push('&');
            text.get(1..).unwrap_or("")
        }
    }
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|&char| char != '\0');
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "euro" => '€',
        "pound" => '£',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_transforms() {
        // (made, expected, why)
        let cases = [
            (title_case("o'NEIL mary-jane ÉMILE"), "O'neil Mary-Jane Émile", "words, hyphens, accents"),
            (title_case("don't (stop)"), "Don't (Stop)", "apostrophes and brackets"),
            (capitalize("hELLO World"), "Hello world", "one letter only"),
            (capitalize("ßeta"), "SSeta", "one letter may become two"),
            (collapse_spaces("  a \t b\u{a0}c "), "a b c", "any white space"),
            (remove_special_chars("Ada! (Löve_lace) #1"), "Ada Lövelace 1", "letters of any script"),
            (remove_special_chars("e\u{301}!"), "e\u{301}", "accents that stand alone"),
            (truncate("héllo", 2).to_owned(), "hé", "characters, not bytes"),
            (truncate("ae\u{301}b", 2).to_owned(), "a", "no letter without its accent"),
            (truncate("ab", 5).to_owned(), "ab", "short enough"),
            (truncate("ab", 0).to_owned(), "", "nothing left"),
            (strip_html("<p>Hello<br>World</p>"), "Hello World", "blocks part words"),
            (strip_html("a<b>bo</b>ld"), "abold", "inline tags do not"),
            (strip_html("1 < 2 & 3 > 2"), "1 < 2 & 3 > 2", "no tags at all"),
            (strip_html("x<script>if (a<b) {}</script>y<!-- no -->z"), "xyz", "scripts and comments"),
            (
                strip_html("<a title=\"a > b\">Tom &amp; J&eacute;</a> &#8364; &#x41;"),
                "Tom & J&eacute; € A",
                "entities",
            ),
            (strip_html("&lt;b&gt;"), "<b>", "decoded once"),
            (strip_html("a <b"), "a <b", "never closed"),
        ];
        for (made, expected, why) in cases {
            assert_eq!(made, expected, "{why}");
        }
    }
}
