//! Several requests in one: `/composite`, `/composite/batch` and `/composite/tree`.
//!
//! A part is a request like any other and goes through the same routes; it costs no call of its own.

mod references;
mod tree;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::Visit;
use super::errors::ApiError;
use crate::connectors::mock::{Reply, Request};
use references::Known;

/// Requests in one.
const PARTS_MAX: usize = 25;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Composite<'b> {
    #[serde(default)]
    all_or_none: bool,
    #[serde(borrow)]
    composite_request: Vec<Part<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'b> {
    method: String,
    url: String,
    reference_id: String,
    #[serde(borrow, default)]
    body: Option<&'b RawValue>,
    #[serde(default)]
    http_headers: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'b> {
    #[serde(default)]
    halt_on_error: bool,
    #[serde(borrow)]
    batch_requests: Vec<BatchPart<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchPart<'b> {
    method: String,
    url: String,
    #[serde(borrow, default)]
    rich_input: Option<&'b RawValue>,
}

impl Visit<'_> {
    pub(super) fn composite(&mut self, rest: &[&str]) -> Result<Reply, ApiError> {
        match (self.request.method.as_str(), rest) {
            ("POST", []) => self.composite_parts(),
            ("POST", ["batch"]) => self.batch(),
            ("POST", ["tree", name]) => self.tree(name),
            (_, ["sobjects", rest @ ..]) => self.collections(rest),
            (_, [] | ["batch"] | ["tree", _]) => Err(ApiError::method("POST")),
            _ => Err(ApiError::not_found()),
        }
    }

    fn composite_parts(&mut self) -> Result<Reply, ApiError> {
        let body = &self.request.body;
        let wanted: Composite =
            serde_json::from_slice(body).map_err(|error| ApiError::json(&error.to_string()))?;
        let parts = wanted.composite_request;
        check_count(parts.len())?;
        self.table.mark();
        let (mut replies, mut known, mut records) = (Vec::new(), Known::default(), 0);
        let mut halted = false;
        for part in &parts {
            let reply = match halted {
                true => rolled_back(),
                false => {
                    let asked = known.in_url(&part.url).and_then(|url| {
                        Ok((url, part.body.map(|body| known.in_body(body.get())).transpose()?))
                    });
                    let headers =
                        part.http_headers.iter().map(|(name, text)| (name.to_lowercase(), text.clone()));
                    match asked {
                        Ok((url, body)) => self.part(&part.method, &url, body, headers.collect()),
                        Err(error) => error.reply(),
                    }
                }
            };
            records += std::mem::take(&mut self.luck.records);
            halted |= wanted.all_or_none && reply.status >= 300;
            known.remember(&part.reference_id, &reply.body);
            replies.push(reply);
        }
        self.luck.records = records;
        self.table.release(halted);
        if halted {
            for reply in replies.iter_mut().filter(|reply| reply.status < 300) {
                *reply = rolled_back();
            }
        }
        let items = parts.iter().zip(&replies).map(|(part, reply)| {
            let location = reply.headers.iter().find(|(name, _)| name == "location");
            let headers = location.map_or(json!({}), |(_, place)| json!({ "Location": place }));
            format!(
                r#"{{"body":{},"httpHeaders":{headers},"httpStatusCode":{},"referenceId":{}}}"#,
                shown(reply),
                reply.status,
                json!(part.reference_id)
            )
        });
        let items = items.collect::<Vec<_>>().join(",");
        Ok(Reply::json(200, format!(r#"{{"compositeResponse":[{items}]}}"#)))
    }

    fn batch(&mut self) -> Result<Reply, ApiError> {
        let body = &self.request.body;
        let wanted: Batch =
            serde_json::from_slice(body).map_err(|error| ApiError::json(&error.to_string()))?;
        check_count(wanted.batch_requests.len())?;
        let (mut items, mut records, mut has_errors) = (Vec::new(), 0, false);
        for part in wanted.batch_requests {
            let reply = match wanted.halt_on_error && has_errors {
                true => {
                    let message = "Batch processing halted per request";
                    ApiError::new(412, "BATCH_PROCESSING_HALTED", message).reply()
                }
                false => {
                    let input = part.rich_input.map(|input| input.get().to_owned());
                    self.part(&part.method, &part.url, input, Vec::new())
                }
            };
            records += std::mem::take(&mut self.luck.records);
            has_errors |= reply.status >= 400;
            items.push(format!(r#"{{"statusCode":{},"result":{}}}"#, reply.status, shown(&reply)));
        }
        self.luck.records = records;
        let items = items.join(",");
        Ok(Reply::json(200, format!(r#"{{"hasErrors":{has_errors},"results":[{items}]}}"#)))
    }

    /// Asks one part of the request, by its path below the host or from the version on.
    fn part(
        &mut self,
        method: &str,
        url: &str,
        body: Option<String>,
        headers: Vec<(String, String)>,
    ) -> Reply {
        let below = url.split_once("/services/data/").map_or(url, |(_, below)| below);
        let (path, query) = below.split_once('?').unwrap_or((below, ""));
        let request = Request {
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: body.unwrap_or_default().into_bytes(),
            base_url: self.request.base_url.clone(),
        };
        let segments = request.segments();
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let [version, rest @ ..] = parts.as_slice() else { return ApiError::not_found().reply() };
        let Some(version) = super::version_of(version) else { return ApiError::not_found().reply() };
        // A composite within a composite would have no end; jobs and limits are not for parts.
        let fits = matches!(rest, ["sobjects" | "query" | "queryAll", ..] | ["composite", "sobjects", ..]);
        let fits = fits || matches!(rest, ["limits"]);
        if !fits {
            let message = format!("The URL {url} can't be a part of this request");
            return ApiError::new(400, "BAD_REQUEST", message).reply();
        }
        let mut visit = Visit {
            org: self.org,
            request: &request,
            table: self.table,
            luck: self.luck,
            now: self.now,
            user: self.user.clone(),
            version,
            budget: self.budget,
        };
        visit.route(rest).unwrap_or_else(|error| error.reply())
    }
}

fn check_count(parts: usize) -> Result<(), ApiError> {
    match parts {
        0 => Err(ApiError::new(400, "REQUIRED_FIELD_MISSING", "At least 1 subrequest is required")),
        parts if parts > PARTS_MAX => {
            let message = format!("The request has {parts} subrequests, and {PARTS_MAX} are allowed");
            Err(ApiError::new(400, "LIMIT_EXCEEDED", message))
        }
        _ => Ok(()),
    }
}

fn rolled_back() -> Reply {
    let message = "The transaction was rolled back since another operation in the same transaction failed.";
    ApiError::new(400, "PROCESSING_HALTED", message).reply()
}

fn shown(reply: &Reply) -> String {
    match reply.body.is_empty() {
        true => "null".to_owned(),
        false => String::from_utf8_lossy(&reply.body).into_owned(),
    }
}
