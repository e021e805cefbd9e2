//! Changes that were handed in one after the other and meet before the first is delivered.
//!
//! Invariant: no field that was handed in is lost; of two values of one field the later stands.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    operation: String,
    data: BTreeMap<String, Box<RawValue>>,
}

/// Makes one payload of one that is not delivered yet and a newer one.
pub fn merged(standing: &str, newer: &str) -> String {
    let changes =
        serde_json::from_str::<Change>(standing).ok().zip(serde_json::from_str::<Change>(newer).ok());
    let Some((mut standing, change)) = changes else { return newer.to_owned() };
    let adds = |change: &Change| matches!(change.operation.as_str(), "create" | "update");
    if !adds(&standing) || !adds(&change) {
        return newer.to_owned();
    }
    standing.data.extend(change.data);
    serde_json::to_string(&standing).unwrap_or_else(|_| newer.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_in_stands_beside_what_comes_later() {
        // (standing, newer, merged, why)
        let cases = [
            (
                r#"{"operation":"create","data":{"name":"A","email":"a@x"}}"#,
                r#"{"operation":"update","data":{"email":"b@x"}}"#,
                r#"{"operation":"create","data":{"email":"b@x","name":"A"}}"#,
                "a record that is still to be made gets both",
            ),
            (
                r#"{"operation":"update","data":{"amount":1.10}}"#,
                r#"{"operation":"update","data":{"rate":0.30000000000000000001}}"#,
                r#"{"operation":"update","data":{"amount":1.10,"rate":0.30000000000000000001}}"#,
                "numbers keep their digits",
            ),
            (
                r#"{"operation":"update","data":{"name":"A"}}"#,
                r#"{"operation":"delete","data":{}}"#,
                r#"{"operation":"delete","data":{}}"#,
                "a deletion leaves nothing to be changed",
            ),
            (
                r#"{"operation":"delete","data":{}}"#,
                r#"{"operation":"create","data":{"name":"A"}}"#,
                r#"{"operation":"create","data":{"name":"A"}}"#,
                "made again after it",
            ),
            (
                r#"{"operation":"restore","data":{"name":"A"},"expect":{}}"#,
                r#"{"operation":"update","data":{"email":"b@x"}}"#,
                r#"{"operation":"update","data":{"email":"b@x"}}"#,
                "what is brought back is another matter: the newer takes over",
            ),
            ("no JSON", "P2", "P2", "nor is anything else"),
        ];
        for (standing, newer, expected, why) in cases {
            assert_eq!(merged(standing, newer), expected, "{why}");
        }
    }
}
