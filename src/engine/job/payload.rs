//! Changes that were handed in one after the other and meet before the first is delivered.
//!
//! Invariant: no field that was handed in is lost; of two values of one field the later stands.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::planted::{Bug, planted};

#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    operation: String,
    data: BTreeMap<String, Box<RawValue>>,
    /// What of it came in while the rest was under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    later: Option<Box<Change>>,
}

impl Change {
    fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn adds(&self) -> bool {
        matches!(self.operation.as_str(), "create" | "update")
    }
}

/// Makes one payload of one that is not delivered yet and a newer one.
pub fn merged(standing: &str, newer: &str) -> String {
    joined(standing, newer, false)
}

/// The same where the standing one is under way: [`rest`] tells what is left should it arrive.
pub fn merged_under_way(standing: &str, newer: &str) -> String {
    joined(standing, newer, true)
}

/// What takes the place of work that is under way: nothing of it has gone out yet.
pub fn instead(newer: &str) -> String {
    let Some(change) = Change::read(newer) else { return newer.to_owned() };
    serde_json::to_string(&Change { later: Some(Box::new(change.clone())), ..change })
        .unwrap_or_else(|_| newer.to_owned())
}

fn joined(standing: &str, newer: &str, under_way: bool) -> String {
    let as_it_is = || if under_way { instead(newer) } else { newer.to_owned() };
    let (Some(mut standing), Some(change)) = (Change::read(standing), Change::read(newer)) else {
        return as_it_is();
    };
    if !standing.adds() || !change.adds() || planted(Bug::PushesNotMerged) {
        return as_it_is();
    }
    let later = under_way.then(|| match standing.later.take() {
        Some(mut later) => {
            later.data.extend(change.data.clone());
            later
        }
        None => Box::new(Change { operation: change.operation, data: change.data.clone(), later: None }),
    });
    standing.data.extend(change.data);
    standing.later = later;
    serde_json::to_string(&standing).unwrap_or_else(|_| as_it_is())
}

/// What is still to be delivered once what was under way has arrived: it must not be written a second time, over
/// what somebody has made of it since.
pub fn rest(payload: String) -> String {
    match Change::read(&payload).and_then(|change| change.later) {
        Some(later) if !planted(Bug::PushSentAgain) => serde_json::to_string(&later).unwrap_or(payload),
        _ => payload,
    }
}

/// The payload as it goes under way: all of it.
pub fn whole(payload: String) -> String {
    match Change::read(&payload) {
        Some(change) if change.later.is_some() => {
            serde_json::to_string(&Change { later: None, ..change }).unwrap_or(payload)
        }
        _ => payload,
    }
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

    #[test]
    fn what_has_arrived_is_not_delivered_once_more() {
        let name = |name: &str| format!(r#"{{"operation":"update","data":{{"name":"{name}"}}}}"#);
        let email = r#"{"operation":"create","data":{"email":"b@x"}}"#;
        let delete = r#"{"operation":"delete","data":{}}"#;
        let both = r#"{"operation":"update","data":{"email":"b@x","name":"A"}}"#;
        // (under way, what comes meanwhile, left once it has arrived, all should it fail, why)
        let cases = [
            (name("A"), vec![email.to_owned()], email.to_owned(), both.to_owned(), "the other field only"),
            (name("A"), vec![name("B")], name("B"), name("B"), "the later value"),
            (
                name("A"),
                vec![email.to_owned(), name("B")],
                r#"{"operation":"create","data":{"email":"b@x","name":"B"}}"#.to_owned(),
                r#"{"operation":"update","data":{"email":"b@x","name":"B"}}"#.to_owned(),
                "one after the other",
            ),
            (
                name("A"),
                vec![delete.to_owned()],
                delete.to_owned(),
                delete.to_owned(),
                "nothing of it is left",
            ),
            (delete.to_owned(), vec![name("B")], name("B"), name("B"), "made again behind its deletion"),
            (
                delete.to_owned(),
                vec![name("B"), email.to_owned()],
                r#"{"operation":"update","data":{"email":"b@x","name":"B"}}"#.to_owned(),
                r#"{"operation":"update","data":{"email":"b@x","name":"B"}}"#.to_owned(),
                "nothing of what came behind a deletion was under way with it",
            ),
            (name("A"), vec![], name("A"), name("A"), "nothing came"),
            ("no JSON".to_owned(), vec![], "no JSON".to_owned(), "no JSON".to_owned(), "it stays as it is"),
        ];
        for (under_way, meanwhile, left, all, why) in cases {
            let payload =
                meanwhile.iter().fold(under_way, |standing, newer| merged_under_way(&standing, newer));
            assert_eq!(rest(payload.clone()), left, "{why}: it has arrived");
            assert_eq!(whole(payload), all, "{why}: it has failed");
        }
    }
}
