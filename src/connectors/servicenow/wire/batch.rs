//! The Batch API: many requests in one, each with an answer of its own.
//!
//! Invariant: answers are matched by their ids, never by their order; a request without an answer, or with
//! two, is nobody's success.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;

use crate::connectors::rest::RawReply;
use crate::engine::fault::{Fault, FaultCode};

/// Bytes of one batch's body; the service takes 10 MB a request.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// One request of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: &'static str,
    /// From the root, with its query.
    pub path: String,
    pub body: Option<Vec<u8>>,
}

impl Asked {
    fn bytes(&self) -> usize {
        // Base64 takes four bytes for three; the rest is names and quotes.
        self.path.len() + self.body.as_ref().map_or(0, |body| body.len() / 3 * 4) + 300
    }
}

/// Requests that wait to be sent, by their number.
#[derive(Debug, Default)]
pub struct BatchPlan {
    waiting: BTreeMap<usize, Asked>,
}

/// What came back of one batch.
#[derive(Debug, Default)]
pub struct Answers {
    pub replies: BTreeMap<usize, RawReply>,
    /// The service ran out of time before these: nothing was done.
    pub unserviced: BTreeSet<usize>,
}

impl BatchPlan {
    /// Adds a request.
    pub fn push(&mut self, number: usize, asked: Asked) {
        self.waiting.insert(number, asked);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the requests of the next batch out, as many as fit into a body; at least one.
    pub fn next(&mut self) -> BTreeMap<usize, Asked> {
        let mut taken = BTreeMap::new();
        let mut bytes = 0;
        while let Some(entry) = self.waiting.first_entry() {
            bytes += entry.get().bytes();
            if bytes > BYTES_MAX && !taken.is_empty() {
                break;
            }
            let (number, asked) = entry.remove_entry();
            taken.insert(number, asked);
        }
        taken
    }
}

/// Writes the body of a batch.
pub fn write_batch(batch: &BTreeMap<usize, Asked>) -> String {
    let header = |name: &str| json!({ "name": name, "value": "application/json" });
    let requests: Vec<serde_json::Value> = batch
        .iter()
        .map(|(number, asked)| {
            json!({
                "id": number.to_string(),
                "method": asked.method,
                "url": asked.path,
                "headers": [header("Content-Type"), header("Accept")],
                // A DELETE has none.
                "body": STANDARD.encode(asked.body.as_deref().unwrap_or_default()),
            })
        })
        .collect();
    json!({ "batch_request_id": "1", "rest_requests": requests }).to_string()
}

#[derive(Deserialize)]
struct Document {
    serviced_requests: Vec<Serviced>,
    #[serde(default)]
    unserviced_requests: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Serviced {
    id: serde_json::Value,
    status_code: u16,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

/// Reads a batch's reply. Ids that nobody asked under are left out; an id that comes twice has no answer.
pub fn read_batch(operation: &str, body: &[u8], asked: &BTreeMap<usize, Asked>) -> Result<Answers, Fault> {
    let document: Document = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = format!("{operation}: the reply is no batch at line {line}, column {column}");
        Fault::transient(FaultCode::Protocol, what)
    })?;
    let mut answers = Answers::default();
    let mut twice = BTreeSet::new();
    for serviced in document.serviced_requests {
        let Some(number) = number_of(&serviced.id).filter(|number| asked.contains_key(number)) else {
            continue;
        };
        let Some(reply) = serviced.into_reply() else { continue };
        if answers.replies.insert(number, reply).is_some() {
            twice.insert(number);
        }
    }
    answers.replies.retain(|number, _| !twice.contains(number));
    let unserviced = document.unserviced_requests.iter().filter_map(number_of);
    answers.unserviced = unserviced
        .filter(|number| asked.contains_key(number) && !answers.replies.contains_key(number))
        .filter(|number| !twice.contains(number))
        .collect();
    Ok(answers)
}

fn number_of(id: &serde_json::Value) -> Option<usize> {
    match id {
        serde_json::Value::String(text) => text.parse().ok(),
        serde_json::Value::Number(number) => number.as_u64()?.try_into().ok(),
        _ => None,
    }
}

impl Serviced {
    fn into_reply(self) -> Option<RawReply> {
        let body = match self.body {
            Some(body) => STANDARD.decode(body.trim()).ok()?,
            None => Vec::new(),
        };
        let mut headers = HeaderMap::new();
        for Header { name, value } in &self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                headers.append(name, value);
            }
        }
        Some(RawReply { status: self.status_code, headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &'static str, bytes: usize) -> Asked {
        Asked { method, path: "/api/now/table/incident".to_owned(), body: Some(vec![b'x'; bytes]) }
    }

    #[test]
    fn a_batch_stays_below_the_limit_of_a_request() {
        let mut plan = BatchPlan::default();
        for (number, bytes) in [1, 7 << 20, 1, 3 << 20, 3 << 20, 1].into_iter().enumerate() {
            plan.push(number, asked("POST", bytes));
        }
        let mut sizes = Vec::new();
        while !plan.is_empty() {
            sizes.push(plan.next().len());
        }
        assert_eq!(sizes, [1, 1, 2, 2], "one that is too long goes alone");
    }

    #[test]
    fn answers_are_matched_by_their_ids() {
        let requests: BTreeMap<usize, Asked> = (0..6).map(|number| (number, asked("POST", 1))).collect();
        let body = br#"{"batch_request_id":"1","serviced_requests":[
            {"id":"2","status_code":201,"body":"e30=","headers":[{"name":"Retry-After","value":"7"},{"name":"a b","value":""}]},
            {"id":0,"status_code":204},
            {"id":"1","status_code":200,"body":"!"},
            {"id":"3","status_code":200,"body":""},{"id":"3","status_code":404,"body":""},
            {"id":"99","status_code":200,"body":""}],"unserviced_requests":["4","3",7]}"#;
        let answers = read_batch("write", body, &requests).expect("a batch");
        let statuses: Vec<(usize, u16)> =
            answers.replies.iter().map(|(id, reply)| (*id, reply.status)).collect();
        assert_eq!(statuses, [(0, 204), (2, 201)], "one without a body, one out of order");
        assert_eq!(answers.replies[&2].body, b"{}");
        assert_eq!(answers.replies[&2].header("retry-after"), Some("7"));
        assert_eq!(answers.unserviced, BTreeSet::from([4]), "5 is not spoken of, 3 was answered twice");
        for text in ["", "{}", "[]", r#"{"serviced_requests":7}"#] {
            assert!(read_batch("write", text.as_bytes(), &requests).is_err(), "{text}");
        }
    }

    #[test]
    fn bodies_travel_as_base64() {
        let requests = BTreeMap::from([(7, Asked { body: Some(b"{}".to_vec()), ..asked("POST", 0) })]);
        let text = write_batch(&requests);
        let body: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(body["rest_requests"][0]["id"], "7");
        assert_eq!(body["rest_requests"][0]["body"], "e30=");
        assert_eq!(body["rest_requests"][0]["url"], "/api/now/table/incident");
    }
}
