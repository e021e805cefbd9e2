//! SOQL text to tokens.

use super::parser::malformed;
use crate::connectors::salesforce::mock::errors::ApiError;

/// A piece of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name, a keyword, a number or a date: whatever stands without quotes.
    Word(String),
    /// Text in quotes, as it was written: LIKE gives some escapes a meaning of its own.
    Quoted(String),
    /// `( ) ,` and the comparison signs.
    Sign(&'static str),
}

impl Token {
    /// Tells whether this is a keyword, case ignored.
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// Writes the token as error messages show it.
    pub fn shown(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Quoted(text) => format!("'{text}'"),
            Self::Sign(sign) => (*sign).to_owned(),
        }
    }
}

const SIGNS: &[&str] = &["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ","];

/// Cuts a query into tokens.
pub fn tokens(text: &str) -> Result<Vec<Token>, ApiError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, left) = if first == '\'' {
            quoted(rest.get(1..).unwrap_or_default())?
        } else if let Some(sign) = SIGNS.iter().copied().find(|sign| rest.starts_with(sign)) {
            (Token::Sign(sign), rest.get(sign.len()..).unwrap_or_default())
        } else if first.is_ascii_alphanumeric() || matches!(first, '_' | '-' | '+' | '.') {
            let end = rest.find(|letter: char| !is_word(letter)).unwrap_or(rest.len());
            let (word, left) = rest.split_at(end);
            (Token::Word(word.to_owned()), left)
        } else {
            return Err(malformed(&format!("unexpected token: '{first}'")));
        };
        tokens.push(token);
        rest = left.trim_start();
    }
    Ok(tokens)
}

/// Dates hold colons and signs; `LAST_N_DAYS:7` does too.
fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | ':' | '-' | '+')
}

fn quoted(rest: &str) -> Result<(Token, &str), ApiError> {
    let mut escaped = false;
    for (at, letter) in rest.char_indices() {
        match letter {
            '\\' if !escaped => escaped = true,
            '\'' if !escaped => {
                let (text, left) = rest.split_at(at);
                return Ok((Token::Quoted(text.to_owned()), left.get(1..).unwrap_or_default()));
            }
            _ => escaped = false,
        }
    }
    Err(malformed("unexpected token: '<EOF>' (the string literal does not end)"))
}

/// Takes the escapes out of a quoted text.
pub fn unescape(text: &str) -> Result<String, ApiError> {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        out.push(match letters.next() {
            Some('n' | 'N') => '\n',
            Some('r' | 'R') => '\r',
            Some('t' | 'T') => '\t',
            Some('b' | 'B') => '\u{8}',
            Some('f' | 'F') => '\u{c}',
            Some(same @ ('"' | '\'' | '\\' | '_' | '%')) => same,
            Some('u' | 'U') => {
                let digits: String = letters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                let code = code.and_then(char::from_u32);
                code.ok_or_else(|| malformed("invalid unicode escape in a string literal"))?
            }
            _ => return Err(malformed("invalid string literal: unknown escape sequence")),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_taken_out_or_refused() {
        // (written, meant, why)
        let cases = [
            (r"O\'Hara", Some("O'Hara"), "the quote"),
            (r"a\\b", Some(r"a\b"), "the backslash"),
            (r"\n\r\t\b\f", Some("\n\r\t\u{8}\u{c}"), "control characters"),
            (r"\u00e9", Some("é"), "by code"),
            (r"\x", None, "unknown"),
            (r"\u00", None, "too short"),
        ];
        for (written, meant, why) in cases {
            assert_eq!(unescape(written).ok().as_deref(), meant, "{why}");
        }
    }

    #[test]
    fn a_query_falls_into_its_tokens() {
        let found =
            tokens(r"WHERE a>='x\'y' AND b IN(1,-2.5) AND c=2024-01-31T10:00:00+01:00").expect("tokens");
        let shown: Vec<String> = found.iter().map(Token::shown).collect();
        let expected = [
            "WHERE",
            "a",
            ">=",
            r"'x\'y'",
            "AND",
            "b",
            "IN",
            "(",
            "1",
            ",",
            "-2.5",
            ")",
            "AND",
            "c",
            "=",
            "2024-01-31T10:00:00+01:00",
        ];
        assert_eq!(shown, expected);
        assert!(tokens("a = 'x").is_err());
        assert!(tokens("a = {x}").is_err());
    }
}
