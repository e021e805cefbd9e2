//! The Batch API: requests one after the other, each answered by itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::refusal::Refused;
use crate::connectors::mock::{Reply, Request};

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    batch_request_id: Json,
    rest_requests: Vec<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    id: Json,
    #[serde(default)]
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    exclude_response_headers: bool,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    value: Json,
}

/// Answers a batch; `answer` is asked for each of its requests.
pub fn batch(outer: &Request, mut answer: impl FnMut(&Request) -> Reply) -> Result<Reply, Refused> {
    let document: Document = serde_json::from_slice(&outer.body).map_err(|_| Refused::body())?;
    let mut serviced = Vec::with_capacity(document.rest_requests.len());
    for inner in document.rest_requests {
        let request = inner.request(outer);
        let reply = request.as_ref().map_or_else(|| Refused::body().reply(), &mut answer);
        serviced.push(told(&inner, &reply));
    }
    let body = json!({
        "batch_request_id": plain(&document.batch_request_id),
        "serviced_requests": serviced,
        "unserviced_requests": [],
    });
    Ok(Reply::json(200, body.to_string()))
}

impl Inner {
    /// Builds the request that this one stands for; `None` where its body can't be read.
    fn request(&self, outer: &Request) -> Option<Request> {
        let (path, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let body = match &self.body {
            Some(body) => STANDARD.decode(body.trim()).ok()?,
            None => Vec::new(),
        };
        let mut headers: Vec<(String, String)> =
            self.headers.iter().map(|it| (it.name.to_ascii_lowercase(), plain(&it.value))).collect();
        headers.retain(|(name, _)| name != "authorization");
        headers.extend(outer.headers.iter().filter(|(name, _)| name == "authorization").cloned());
        Some(Request {
            method: self.method.clone().unwrap_or_else(|| "GET".to_owned()),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body,
            base_url: outer.base_url.clone(),
        })
    }
}

fn told(inner: &Inner, reply: &Reply) -> Json {
    let named = |(name, value): &(String, String)| json!({ "name": titled(name), "value": value });
    let shown = reply.headers.iter().filter(|_| !inner.exclude_response_headers);
    json!({
        "id": plain(&inner.id),
        "status_code": reply.status,
        "status_text": word(reply.status),
        "body": STANDARD.encode(&reply.body),
        "headers": shown.map(named).collect::<Vec<_>>(),
        "execution_time": 1,
    })
}

/// Ids come back as text, however they were sent.
fn plain(id: &Json) -> String {
    match id {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// Writes a header's name as the service does: `X-Total-Count`.
fn titled(name: &str) -> String {
    let part = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()))
    };
    name.split('-').filter_map(part).collect::<Vec<_>>().join("-")
}

fn word(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        _ => "",
    }
}
