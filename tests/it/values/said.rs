//! Values in the words of SQL, JSON and CSV, as other programs write them.

use super::table::Sort;

/// Text as SQL, whatever it holds.
pub fn sql_text(text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("CAST(x'{hex}' AS TEXT)")
}

/// Text as a cell of CSV.
pub fn csv_text(text: &str) -> String {
    match text.is_empty() || text.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// The value as SQL; `None` where SQLite has nothing like it.
pub fn in_sql(sort: Sort, column: &str) -> Option<String> {
    Some(match sort {
        Sort::Null => "NULL".to_owned(),
        Sort::Flag(_) => return None,
        Sort::Number(number) if column == "TEXT" => sql_text(number),
        // Where no number of SQLite is this one, people write text.
        Sort::Number(number) if column.is_empty() && number.len() > 24 => sql_text(number),
        Sort::Number(number) => number.to_owned(),
        Sort::Text(plain) | Sort::Nested(plain) => sql_text(plain),
        Sort::Long(bytes) => format!("replace(hex(zeroblob({})), '0', 'x')", bytes / 2),
        Sort::Bytes(bytes) => {
            format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        Sort::Broken { sql, .. } => sql?.to_owned(),
    })
}

/// The value as JSON; `None` where JSON has nothing like it.
pub fn in_json(sort: Sort) -> Option<String> {
    Some(match sort {
        Sort::Null => "null".to_owned(),
        Sort::Flag(flag) => flag.to_string(),
        Sort::Number(text) | Sort::Nested(text) => text.to_owned(),
        Sort::Text(text) => serde_json::to_string(text).unwrap(),
        Sort::Long(bytes) => format!("\"{}\"", "x".repeat(bytes)),
        Sort::Bytes(_) => return None,
        Sort::Broken { json, .. } => json?.to_owned(),
    })
}

/// The value as a cell; `None` where CSV has nothing like it.
pub fn in_csv(sort: Sort) -> Option<Vec<u8>> {
    Some(match sort {
        Sort::Null => Vec::new(),
        Sort::Flag(flag) => flag.to_string().into_bytes(),
        Sort::Number(text) => text.into(),
        Sort::Text(text) | Sort::Nested(text) => csv_text(text).into_bytes(),
        Sort::Long(bytes) => "x".repeat(bytes).into_bytes(),
        Sort::Bytes(_) => return None,
        Sort::Broken { csv, .. } => csv?.to_vec(),
    })
}
