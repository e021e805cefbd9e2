//! SOQL text. Every value from outside goes through [`quoted`] or is a number or a moment.

use super::describe::Kind;
use super::time::soql_datetime;
use crate::connectors::rest::After;
use crate::engine::record::Number;

/// Writes text as a literal.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for letter in text.chars() {
        match letter {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            letter if letter.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('\'');
    out
}

/// Writes `SELECT … FROM …` with what follows it. Names come from describe answers or were checked
/// to be names.
pub fn select(object: &str, columns: &[String], rest: &str) -> String {
    format!("SELECT {} FROM {object}{rest}", columns.join(", "))
}

/// Writes the end of a keyset read: rows in the order of (SystemModstamp, Id), one page of them.
/// The id settles the order among the rows of one second, however many there are.
pub fn keyset(after: Option<After>, limit: usize) -> String {
    let condition = match after {
        None => String::new(),
        Some(After::From(at)) => format!(" WHERE SystemModstamp >= {}", soql_datetime(at)),
        Some(After::Row(at, id)) => {
            let (at, id) = (soql_datetime(at), quoted(id));
            format!(" WHERE SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > {id})")
        }
    };
    format!("{condition} ORDER BY SystemModstamp ASC, Id ASC LIMIT {limit}")
}

/// Writes ` WHERE field IN (…)` for all texts, in as many pieces as the length of a URL asks for.
/// A text that a number field can't hold is left out: no row has it.
pub fn in_conditions(field: &str, kind: Kind, texts: &[String], bytes_max: usize) -> Vec<String> {
    let mut conditions = Vec::new();
    let mut list = String::new();
    let mut encoded = 0;
    for text in texts {
        let literal = match kind {
            Kind::Number => match Number::parse(text) {
                Some(_) => text.clone(),
                None => continue,
            },
            _ => quoted(text),
        };
        // What a URL makes of it: three bytes for each that is not plain.
        let size: usize = literal.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum();
        if !list.is_empty() && encoded + size + 3 > bytes_max {
            conditions.push(format!(" WHERE {field} IN ({list})"));
            list.clear();
            encoded = 0;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&literal);
        encoded += size + 3;
    }
    if !list.is_empty() {
        conditions.push(format!(" WHERE {field} IN ({list})"));
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Timestamp;

    #[test]
    fn no_text_breaks_out_of_its_quotes() {
        // (text, literal, why)
        let cases = [
            ("plain", "'plain'", "nothing to do"),
            ("O'Hara", r"'O\'Hara'", "the quote"),
            (r"x\' OR Id != '", r"'x\\\' OR Id != \''", "an injection"),
            ("a\nb\tc", r"'a\nb\tc'", "control characters by name"),
            ("nul\0", r"'nul\u0000'", "and by code"),
            ("日本", "'日本'", "the rest as it is"),
        ];
        for (text, literal, why) in cases {
            assert_eq!(quoted(text), literal, "{why}");
        }
    }

    #[test]
    fn a_keyset_names_the_second_and_the_row() {
        let at = Timestamp(1_725_914_491_000);
        assert_eq!(keyset(None, 5), " ORDER BY SystemModstamp ASC, Id ASC LIMIT 5");
        assert_eq!(
            keyset(Some(After::From(at)), 5),
            " WHERE SystemModstamp >= 2024-09-09T20:41:31Z ORDER BY SystemModstamp ASC, Id ASC LIMIT 5"
        );
        assert_eq!(
            keyset(Some(After::Row(at, "003x")), 5),
            " WHERE SystemModstamp > 2024-09-09T20:41:31Z OR (SystemModstamp = 2024-09-09T20:41:31Z AND Id > '003x') ORDER BY SystemModstamp ASC, Id ASC LIMIT 5"
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let texts: Vec<String> = (0..10).map(|number| format!("key{number}")).collect();
        let cut = in_conditions("K", Kind::Text, &texts, 30);
        assert_eq!(cut.len(), 5);
        assert_eq!(cut.first().map(String::as_str), Some(" WHERE K IN ('key0','key1')"));
        let numbers = ["1".to_owned(), "x".to_owned(), "2.5".to_owned()];
        assert_eq!(in_conditions("N", Kind::Number, &numbers, 1000), [" WHERE N IN (1,2.5)"]);
    }
}
