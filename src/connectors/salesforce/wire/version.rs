//! Versions of the API, of which an org offers many.

use serde::Deserialize;

/// The version that this connector was written for.
pub const API_VERSION: &str = "61.0";

#[derive(Deserialize)]
struct Offered {
    version: String,
}

/// Finds, in the list of what an org offers, the version nearest to one: itself, else the newest before it, else
/// the first after it.
pub fn nearest_version(body: &[u8], wanted: &str) -> Result<Option<String>, serde_json::Error> {
    let offered: Vec<Offered> = serde_json::from_slice(body)?;
    let number = |text: &str| text.strip_suffix(".0").and_then(|number| number.parse::<u16>().ok());
    let Some(wanted) = number(wanted) else { return Ok(None) };
    let numbers = || offered.iter().filter_map(|offered| number(&offered.version));
    let before = numbers().filter(|number| *number <= wanted).max();
    let nearest = before.or_else(|| numbers().min());
    Ok(nearest.map(|number| format!("{number}.0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_version_is_taken() {
        // (offered, wanted, nearest, why)
        let cases: [(&[&str], &str, Option<&str>, &str); 5] = [
            (&["60.0", "61.0", "62.0"], "61.0", Some("61.0"), "itself"),
            (&["31.0", "60.0", "62.0"], "61.0", Some("60.0"), "the newest before it"),
            (&["70.0", "66.0"], "61.0", Some("66.0"), "it was retired"),
            (&["x", "31"], "61.0", None, "no versions"),
            (&[], "61.0", None, "none"),
        ];
        for (offered, wanted, nearest, why) in cases {
            let list: Vec<_> =
                offered.iter().map(|version| serde_json::json!({"label": "L", "version": version})).collect();
            let body = serde_json::to_vec(&list).expect("JSON");
            assert_eq!(nearest_version(&body, wanted).expect("a list").as_deref(), nearest, "{why}");
        }
        assert!(nearest_version(b"{}", "61.0").is_err());
    }
}
