//! `Idempotency-Key`: a request that is carried out once, however often it comes.
//!
//! Invariant: the answer is durable before it is given. The jobs that a request makes are stored with its name, in
//! one transaction: whoever repeats it after a crash that came before the answer finds them. Twins that come at the same moment wait for the
//! first one and get its answer; only what succeeded is remembered, so that what failed can be tried again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::input::{DEFAULT_CUSTOMER, Raw};
use super::problem::Problem;
use super::server::App;
use crate::runtime::link::lock;
use crate::store::Once;

const HEADER: &str = "idempotency-key";
const SPACE: &str = "idempotency";
const KEPT: Duration = Duration::from_secs(24 * 3600);
const KEY_BYTES_MAX: usize = 255;
/// An answer of a thousand items is a fifth of this.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Turns that nobody waits for are forgotten beyond so many.
const TURNS_MAX: usize = 1024;

/// Whose turn it is, a key each: a long request makes nobody wait but its twins.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    async fn take(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.0);
            if turns.len() >= TURNS_MAX {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

/// The name of a request that may come again; none where it has no key.
pub struct Named(pub Option<Once>);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Once>().cloned()))
    }
}

/// An answer as it is kept.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    /// Of the request that it answers.
    print: String,
    #[serde(default = "accepted")]
    status: u16,
    #[serde(default)]
    location: Option<String>,
    answer: Box<serde_json::value::RawValue>,
}

/// What was kept before answers had a status.
fn accepted() -> u16 {
    StatusCode::ACCEPTED.as_u16()
}

/// Lets a POST with a key through once; answers it from memory the next time.
pub async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let key = request.headers().get(HEADER).filter(|_| request.method() == Method::POST);
    let Some(key) = key.map(|key| key.to_str().unwrap_or_default().to_owned()) else {
        return next.run(request).await;
    };
    match carry_out(&app, &key, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn carry_out(app: &App, key: &str, request: Request, next: Next) -> Result<Response, Problem> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Problem::invalid("the Idempotency-Key can't be used")
            .remedy(format!("use 1 to {KEY_BYTES_MAX} visible ASCII characters, such as a UUID")));
    }
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let Raw(body) = Raw::from_request(whole, &()).await?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let target = target.trim_end_matches('/');
    let name = format!("{}/{key}", customer(&parts.uri, &body));
    let _alone = app.once.take(&name).await;
    let print = print(target, &body);
    let now = (app.runtime.clock)();
    if let Some(kept) = app.runtime.store.get(SPACE, &name, now).await?
        && let Ok(kept) = serde_json::from_str::<Kept>(&kept)
    {
        return again(&kept, &print);
    }
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(Once { name: format!("{name}/{print}"), until: now.plus(KEPT) });
    let response = next.run(request).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    if let Ok(answer) = serde_json::from_slice(&bytes) {
        let kept = Kept { print, status: head.status.as_u16(), location: location(&head.headers), answer };
        let text = serde_json::to_string(&kept).unwrap_or_default();
        app.runtime.store.put(SPACE, &name, &text, Some(now.plus(KEPT))).await?;
    }
    Ok(Response::from_parts(head, Body::from(bytes)))
}

fn location(headers: &HeaderMap) -> Option<String> {
    headers.get(header::LOCATION).and_then(|place| place.to_str().ok()).map(str::to_owned)
}

/// Gives the kept answer, if it is to this very request.
fn again(kept: &Kept, print: &str) -> Result<Response, Problem> {
    if kept.print != print {
        return Err(Problem::invalid("this Idempotency-Key came with another request before")
            .remedy("use a new key for a new request"));
    }
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (status, kind, kept.answer.get().to_owned()).into_response();
    if let Some(place) = kept.location.as_ref().and_then(|place| place.parse().ok()) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// A key is a customer's own: whoever the query or the body names.
fn customer(uri: &axum::http::Uri, body: &[u8]) -> String {
    #[derive(Default, serde::Deserialize)]
    struct Named {
        customer_id: Option<String>,
    }
    let in_body = serde_json::from_slice::<Named>(body).unwrap_or_default().customer_id;
    let in_query =
        || axum::extract::Query::<Named>::try_from_uri(uri).ok().and_then(|named| named.0.customer_id);
    in_body.or_else(in_query).unwrap_or_else(|| DEFAULT_CUSTOMER.to_owned())
}

/// Tells two requests apart. JSON is the same however it is spaced.
fn print(target: &str, body: &[u8]) -> String {
    let mut whole = target.as_bytes().to_vec();
    whole.push(0);
    match std::str::from_utf8(body).ok().and_then(spaceless) {
        Some(text) => whole.extend(text.bytes()),
        None => whole.extend(body),
    }
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&whole))
}

/// Takes the spaces out that stand between the tokens of JSON; `None` where it is none.
fn spaceless(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (mut within, mut escaped) = (false, false);
    let keep = |letter: &char| {
        let kept = within || !letter.is_ascii_whitespace();
        if !escaped && *letter == '"' {
            within = !within;
        }
        escaped = within && !escaped && *letter == '\\';
        kept
    };
    Some(text.chars().filter(keep).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_has_the_same_print() {
        let base = print("/v1/jobs/l", br#"{"entity_id": 7, "note": "a b\" c"}"#);
        // (target, body, same, why)
        let cases = [
            ("/v1/jobs/l", r#"{ "entity_id":7,"note":"a b\" c" }"#, true, "only spaced otherwise"),
            ("/v1/jobs/l", r#"{"entity_id": 7, "note": "ab\" c"}"#, false, "another text"),
            ("/v1/jobs/l", r#"{"entity_id": 7, "note": "a b\"c"}"#, false, "also behind a quote"),
            ("/v1/jobs/m", r#"{"entity_id": 7, "note": "a b\" c"}"#, false, "another place"),
            ("/v1/jobs/l", r#"{"entity_id": 7, "note": "a b\" c""#, false, "no JSON"),
        ];
        for (target, body, same, why) in cases {
            assert_eq!(print(target, body.as_bytes()) == base, same, "{why}");
        }
    }

    #[test]
    fn a_key_belongs_to_the_customer_that_is_named() {
        // (target, body, customer, why)
        let cases = [
            ("/v1/sync", "{}", "default", "nobody is named"),
            ("/v1/sync?customer_id=c1", "{}", "c1", "in the query"),
            ("/v1/sync?customer_id=c1", r#"{"customer_id": "c2"}"#, "c2", "the body goes first"),
            ("/v1/sync?customer_id=c1", "", "c1", "no body"),
        ];
        for (target, body, expected, why) in cases {
            assert_eq!(customer(&target.parse().unwrap(), body.as_bytes()), expected, "{why}");
        }
    }
}
