//! What a good status leaves open: whether a record was written, one result a record of a batch.
//!
//! Invariant: a record of which the reply says nothing is neither written nor refused.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::super::settings::{Batch, MatchBy, Stream, Write};
use super::classify::{by_status, said};
use super::{Pointer, truthy};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Key, Value, value_from_raw};

/// What a reply says of one record.
#[derive(Debug)]
pub enum Sorted<'r> {
    /// It was written; the record as it stands, where the reply has it.
    Done(Option<&'r RawValue>),
    Refused(Fault),
    /// No word.
    Unknown(Fault),
}

/// Reads results of one kind of request.
#[derive(Clone, Copy)]
pub struct Results<'s> {
    pub operation: &'s str,
    pub stream: &'s Stream,
    pub write: &'s Write,
    /// The link's key fields.
    pub key: &'s [String],
    pub errors: &'s [Pointer],
}

/// Sorts the results of a reply by the records of the request. `names` is what each record is known by.
pub fn sort_results<'r>(
    results: &Results<'_>,
    batch: &Batch,
    body: Option<&'r RawValue>,
    names: &[Option<String>],
) -> Vec<Sorted<'r>> {
    let mut sorted: Vec<Option<Sorted<'r>>> = names.iter().map(|_| None).collect();
    if batch.results.is_none() && batch.errors.is_none() {
        return names.iter().map(|_| Sorted::Done(None)).collect();
    }
    let places: BTreeMap<&str, usize> =
        names.iter().enumerate().filter_map(|(at, name)| Some((name.as_deref()?, at))).collect();
    let list = |pointer: &Option<Pointer>| {
        let found = pointer.as_ref().zip(body).and_then(|(pointer, body)| pointer.find(body));
        found.and_then(|raw| serde_json::from_str::<Option<Vec<&'r RawValue>>>(raw.get()).ok())
    };
    let shown = list(&batch.results).flatten();
    // Results without names count only where there are as many as records.
    let countable = shown.as_ref().is_some_and(|shown| shown.len() == names.len());
    for (at, result) in shown.iter().flatten().enumerate() {
        let place = match batch.by {
            MatchBy::Index => Some(at).filter(|_| countable),
            _ => results.name(batch, result).and_then(|name| places.get(name.as_str()).copied()),
        };
        if let Some(slot) = place.and_then(|place| sorted.get_mut(place)) {
            *slot = Some(results.verdict(result));
        }
    }
    for error in list(&batch.errors).flatten().unwrap_or_default() {
        let said = said(error, results.errors).unwrap_or_else(|| "refused".to_owned());
        for name in batch.error_echo.as_ref().map(|place| names_at(place, error)).unwrap_or_default() {
            if let Some(slot) = places.get(name.as_str()).and_then(|place| sorted.get_mut(*place)) {
                *slot = Some(Sorted::Refused(results.refused(&said)));
            }
        }
    }
    // Where only errors are listed, whoever is not among them was written.
    let silent_is_done = batch.results.is_none() && list(&batch.errors).is_some();
    sorted
        .into_iter()
        .map(|slot| match slot {
            Some(sorted) => sorted,
            None if silent_is_done => Sorted::Done(None),
            None => Sorted::Unknown(results.unknown("the reply says nothing of this record")),
        })
        .collect()
}

impl Results<'_> {
    /// Reads one result, or the reply to a single request.
    pub fn verdict<'r>(&self, result: &'r RawValue) -> Sorted<'r> {
        let error = self.write.error.as_ref().and_then(|place| place.find(result)).filter(|raw| truthy(raw));
        let success = self.write.success.as_ref().map(|place| place.find(result).map(value_from_raw));
        let status = match &success {
            Some(Some(Ok(value))) => value.to_plain().and_then(|text| text.parse::<u16>().ok()),
            _ => None,
        };
        let worked = match &success {
            None => true,
            Some(Some(Ok(Value::Bool(flag)))) => *flag,
            Some(Some(Ok(Value::Text(text)))) if status.is_none() => is_good_word(text),
            Some(_) => status.is_some_and(|status| (1..400).contains(&status)),
        };
        if worked && error.is_none() {
            return match self.write.reply.as_ref().map(|place| place.find(result)) {
                None => Sorted::Done(None),
                Some(Some(record)) => Sorted::Done(Some(record)),
                Some(None) => Sorted::Unknown(self.unknown("the reply does not show the record")),
            };
        }
        let words = error.and_then(|error| match value_from_raw(error) {
            Ok(Value::Text(text)) => {
                Some(text.chars().filter(|letter| !letter.is_control()).take(300).collect())
            }
            _ => said(error, &[]),
        });
        let words = words.or_else(|| said(result, self.errors)).unwrap_or_else(|| "refused".to_owned());
        match status.filter(|status| *status >= 400) {
            Some(status) => {
                let message = format!("{}: status {status}: {words}", self.operation);
                Sorted::Refused(by_status(status, true, None, message))
            }
            None => Sorted::Refused(self.refused(&words)),
        }
    }

    /// Returns what a result is known by.
    fn name(&self, batch: &Batch, result: &RawValue) -> Option<String> {
        let told = match &batch.echo {
            Some(place) => place.find(result),
            None => {
                let record = self.write.reply.as_ref().map_or(Some(result), |place| place.find(result))?;
                match (batch.by, self.key) {
                    (MatchBy::Id, _) => self.stream.id.find(record),
                    (_, [only]) => match self.stream.paths.get(only) {
                        Some(place) => place.find(record),
                        None if only == self.stream.id_field() => self.stream.id.find(record),
                        None => self.stream.values.member(only).find(record),
                    },
                    _ => None,
                }
            }
        };
        name_of(batch.by, &value_from_raw(told?).ok()?)
    }

    fn refused(&self, words: &str) -> Fault {
        Fault {
            remedy: Some("mend the record or the mapping of the named field".to_owned()),
            ..Fault::rejected(FaultCode::Validation, format!("{}: {words}", self.operation))
        }
    }

    /// Builds the fault of a reply that leaves open what became of a record.
    pub fn unknown(&self, what: &str) -> Fault {
        Fault::transient(FaultCode::Protocol, format!("{}: {what}", self.operation)).and_may_have_happened()
    }
}

/// Writes what a record is known by, so that `7` and `"7"` are the same.
pub fn name_of(by: MatchBy, value: &Value) -> Option<String> {
    match by {
        MatchBy::Key => Key::from_values([value]).ok().map(|key| key.to_string()),
        _ => value.to_plain().map(String::from),
    }
}

/// Reads one name, or a list of them.
fn names_at(place: &Pointer, error: &RawValue) -> Vec<String> {
    let Some(raw) = place.find(error) else { return Vec::new() };
    let read = |raw: &RawValue| value_from_raw(raw).ok()?.to_plain().map(String::from);
    match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        Ok(items) => items.into_iter().filter_map(read).collect(),
        Err(_) => read(raw).into_iter().collect(),
    }
}

fn is_good_word(text: &str) -> bool {
    let good = ["ok", "success", "succeeded", "created", "updated", "deleted", "done", "true"];
    good.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(write: serde_json::Value, body: &str, names: [&str; 3]) -> Vec<String> {
        let write: Write = serde_json::from_value(write).expect("a write");
        let stream: Stream = serde_json::from_value(json!({"id": "/id"})).expect("a stream");
        let key = ["no".to_owned()];
        let results = Results { operation: "op", stream: &stream, write: &write, key: &key, errors: &[] };
        let names = names.map(|name| Some(name.to_owned()));
        let body = serde_json::from_str::<&RawValue>(body).ok();
        let sorted = sort_results(&results, write.batch.as_ref().expect("a batch"), body, &names);
        sorted
            .iter()
            .map(|sorted| match sorted {
                Sorted::Done(None) => "done".to_owned(),
                Sorted::Done(Some(record)) => record.get().to_owned(),
                Sorted::Refused(fault) => fault.message.clone(),
                Sorted::Unknown(_) => "?".to_owned(),
            })
            .collect()
    }

    #[test]
    fn every_record_gets_its_own_result_whatever_the_order() {
        let names = ["1", "2", "3"];
        let index =
            json!({"reply": "/record", "success": "/status", "error": "/error", "batch": {"results": "/r"}});
        let by_id = json!({"reply": "", "batch": {"results": "/r", "by": "id"}});
        let numbered = json!({"reply": "", "batch": {"results": "/results", "errors": "/errors", "by": "number",
            "echo": "/trace", "error_echo": "/context/trace"}});
        let only_errors = json!({"batch": {"errors": "/errors", "by": "id", "error_echo": "/id"}});
        let silent = json!({"batch": {}});
        let by_key = json!({"reply": "", "batch": {"results": "/r", "by": "key"}});
        // (write, body, told, why)
        let cases: [(&serde_json::Value, &str, [&str; 3], &str); 12] = [
            (
                &index,
                r#"{"r":[{"status":201,"record":{"id":1}},{"status":422,"error":"bad"},{"status":"503"}]}"#,
                [r#"{"id":1}"#, "op: status 422: bad", "op: status 503: refused"],
                "in order, by status",
            ),
            (
                &index,
                r#"{"r":[{"status":200,"record":{}},{"status":200,"record":{}}]}"#,
                ["?"; 3],
                "one is missing",
            ),
            (
                &index,
                r#"{"r":[{},{},{"status":true}]}"#,
                ["op: refused", "op: refused", "?"],
                "no word is no success",
            ),
            (
                &by_id,
                r#"{"r":[{"id":3},{"id":"1"},{"id":9}]}"#,
                [r#"{"id":"1"}"#, "?", r#"{"id":3}"#],
                "by id, in another order, and a stranger",
            ),
            (
                &numbered,
                r#"{"results":[{"trace":"3"}],"errors":[{"message":"bad","context":{"trace":["1"]}}]}"#,
                ["op: bad", "?", r#"{"trace":"3"}"#],
                "errors apart, in a list",
            ),
            (&numbered, r#"{"results":[],"errors":[{"message":"all bad"}]}"#, ["?"; 3], "an error of nobody"),
            (
                &only_errors,
                r#"{"errors":[{"id":2,"message":"bad"}]}"#,
                ["done", "op: bad", "done"],
                "only errors",
            ),
            (&only_errors, r#"{"errors":null}"#, ["done"; 3], "none at all"),
            (&only_errors, r#"{}"#, ["?"; 3], "where they should be is nothing"),
            (&silent, "", ["done"; 3], "a good status says it all"),
            (&by_id, "", ["?"; 3], "no body"),
            (
                &by_key,
                r#"{"r":[{"no":2,"id":5}]}"#,
                ["?", r#"{"no":2,"id":5}"#, "?"],
                "by key, a number for a text",
            ),
        ];
        for (write, body, expected, why) in cases {
            assert_eq!(told(write.clone(), body, names), expected, "{why}");
        }
    }
}
