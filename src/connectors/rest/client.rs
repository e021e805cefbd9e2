//! One HTTP request at a time through the gate, with every bound that a request needs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::reply::RawReply;
use super::word::{BudgetHeaders, plain_report};
use crate::connectors::{Call, Clock, Gate, Report};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::Timestamp;

/// The bounds of a client.
#[derive(Clone, Debug)]
pub struct RestOptions {
    /// From sending to the last byte of the reply.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Bytes of a reply's body, after decompression.
    pub body_max: usize,
    /// What a reply says about the service's health and budget; [`plain_report`] where the service
    /// has no habits of its own.
    pub report: fn(&RawReply, Timestamp) -> Report,
    /// Where the budget stands, for a service that has names of its own.
    pub budget: Option<BudgetHeaders>,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            body_max: 32 * 1024 * 1024,
            report: plain_report,
            budget: None,
        }
    }
}

/// A request before it goes out.
pub struct RawRequest {
    /// What it is for, in the words of messages: `query Contact`.
    pub operation: String,
    pub method: Method,
    pub url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl RawRequest {
    /// Starts a request without headers and body.
    pub fn new(operation: impl Into<String>, method: Method, url: impl Into<String>) -> Self {
        Self {
            operation: operation.into(),
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header; one that HTTP can't carry is left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds a header whose name comes from the configuration; one that HTTP can't carry is left out.
    #[must_use]
    pub fn named(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds a header that holds a credential, marked so that nothing prints it.
    #[must_use]
    pub fn credential(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            value.set_sensitive(true);
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds `Authorization: Bearer …`, marked so that nothing prints it.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.credential("authorization", &format!("Bearer {token}"))
    }

    /// Sets the body and its type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut request = self.header("content-type", content_type);
        request.body = body.into();
        request
    }

    /// Sets a form as the body.
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body("application/x-www-form-urlencoded", form)
    }
}

impl fmt::Debug for RawRequest {
    /// Leaves out the query, the headers and the body: they hold secrets and field values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split('?').next().unwrap_or_default();
        write!(f, "{} ({} {url})", self.operation, self.method)
    }
}

/// An HTTP client of one system.
///
/// Follows no redirects: they would carry the token to another host, and the gate would count one
/// request for two. Repeats nothing: an attempt is one request.
pub struct RestClient {
    http: reqwest::Client,
    gate: Arc<dyn Gate>,
    clock: Clock,
    options: RestOptions,
}

impl fmt::Debug for RestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestClient").field("options", &self.options).finish_non_exhaustive()
    }
}

impl RestClient {
    /// Builds a client for requests to (mostly) one base URL; a loopback one is never reached
    /// through a proxy.
    pub fn new(
        base_url: &str,
        gate: Arc<dyn Gate>,
        clock: Clock,
        options: RestOptions,
    ) -> Result<Self, Fault> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("record-sync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(60));
        if is_loopback(base_url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            Fault::fatal(
                FaultCode::Configuration,
                format!("the HTTP client can't be made: {}", causes(&error)),
                "check the certificates of this machine",
            )
        })?;
        Ok(Self { http, gate, clock, options })
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Sends one request and reads its whole reply. Any status is a reply; a fault means that there
    /// is none, or a page for people in its stead.
    pub async fn send(&self, request: RawRequest, call: &Call) -> Result<RawReply, Fault> {
        let url = Url::parse(&request.url).map_err(|error| {
            Fault::fatal(
                FaultCode::Configuration,
                format!("{}: {error} in its URL", request.operation),
                "write base_url as https://host",
            )
        })?;
        let ticket = self.gate.enter_for(call.class, call.link.as_deref()).await?;
        let mut visit = Visit { gate: &*self.gate, ticket, report: GIVEN_UP };
        let operation = request.operation.clone();
        // Whoever may be repeated without harm need not be looked for.
        let harmless = matches!(request.method, Method::GET | Method::HEAD);
        let result = self.exchange(request, url, call).await;
        visit.report = match &result {
            Ok(reply) => {
                let report = (self.options.report)(reply, self.now());
                match &self.options.budget {
                    Some(budget) => budget.overlay(report, reply, self.now()),
                    None => report,
                }
            }
            // A reply that is too long is our own wish; all else, the service failed to answer.
            Err(fault) => Report { failed: fault.kind == FaultKind::Transient, ..Report::default() },
        };
        visit.report.write = !harmless;
        match result {
            Ok(reply) if reply.is_success() && reply.is_web_page() => {
                visit.report.failed = true;
                Err(web_page(&operation, harmless))
            }
            result => result,
        }
    }

    async fn exchange(&self, request: RawRequest, url: Url, call: &Call) -> Result<RawReply, Fault> {
        let RawRequest { operation, method, mut headers, body, .. } = request;
        let harmless = matches!(method, Method::GET | Method::HEAD);
        trace_headers(&mut headers, call);
        let mut sent = self.http.request(method, url).headers(headers);
        if !body.is_empty() {
            sent = sent.body(body);
        }
        let mut response =
            sent.send().await.map_err(|error| transport_fault(&operation, &error, harmless))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.options.body_max => {
                    let fault = Fault::fatal(
                        FaultCode::Protocol,
                        format!("{operation}: the reply is longer than {} bytes", self.options.body_max),
                        "lower page_size or batch_size of this system",
                    );
                    return Err(if harmless { fault } else { fault.and_may_have_happened() });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(RawReply { status, headers, body }),
                Err(error) => return Err(transport_fault(&operation, &error, harmless)),
            }
        }
    }
}

/// What the gate hears of a request whose caller went away.
const GIVEN_UP: Report =
    Report { failed: false, dropped: true, retry_after: None, quota: None, throttled: false, write: false };

/// One entry of the gate; leaves it when dropped, so that a caller who gives up frees the slot.
struct Visit<'g> {
    gate: &'g dyn Gate,
    ticket: u64,
    report: Report,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.ticket, std::mem::take(&mut self.report));
    }
}

/// Classifies a request without a reply.
fn transport_fault(operation: &str, error: &reqwest::Error, harmless: bool) -> Fault {
    let cause = causes(error);
    let (code, what) = match (error.is_timeout(), error.is_connect()) {
        (true, true) => (FaultCode::Timeout, "no connection in time"),
        (true, false) => (FaultCode::Timeout, "no reply in time"),
        (false, true) => (FaultCode::Connect, "no connection"),
        (false, false) if error.is_decode() && !is_cut_short(&cause) => {
            (FaultCode::Protocol, "the reply can't be unpacked")
        }
        (false, false) if is_no_http(&cause) => (FaultCode::Protocol, "the reply can't be read"),
        (false, false) => (FaultCode::Connect, "the connection broke off"),
    };
    let fault = Fault::transient(code, format!("{operation}: {what} ({cause})"));
    // Without a connection nothing was sent; after that, nobody knows.
    if error.is_connect() || harmless { fault } else { fault.and_may_have_happened() }
}

/// Tells by hyper's words whether something else than HTTP came, or heads without end; its types are
/// out of reach. Should the words change, the fault is called a broken connection, with the same end.
fn is_no_http(cause: &str) -> bool {
    cause.starts_with("invalid ") || cause.contains("too large")
}

/// Tells a body that ended too early from one that unpacks to nonsense: reqwest calls both the same.
fn is_cut_short(cause: &str) -> bool {
    ["end of file", "EOF", "connection"].iter().any(|word| cause.contains(word))
}

/// Builds the fault of a page for people that came with a good status. It is no record's fault and
/// may last: the stream rests, and no job's attempts are spent on it.
fn web_page(operation: &str, harmless: bool) -> Fault {
    let fault = Fault::fatal(
        FaultCode::Protocol,
        format!("{operation}: a web page came instead of data"),
        "base_url, or a proxy before it, leads to a page for people (a login?): write the API's own address",
    );
    if harmless { fault } else { fault.and_may_have_happened() }
}

/// Names the innermost cause: the outer ones repeat the URL, which holds field values.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match std::ptr::addr_eq(innermost, error as &dyn std::error::Error) {
        true => "no further detail".to_owned(),
        false => innermost.to_string(),
    }
}

/// Sets `X-Correlation-ID` and the `traceparent` of W3C Trace Context, whose trace id is the
/// correlation id where that is a UUID, else its hash.
fn trace_headers(headers: &mut HeaderMap, call: &Call) {
    if let Ok(value) = HeaderValue::from_str(&call.correlation_id) {
        headers.insert("x-correlation-id", value);
    }
    let trace = match uuid::Uuid::parse_str(&call.correlation_id) {
        Ok(id) => id.as_u128(),
        Err(_) => xxhash_rust::xxh3::xxh3_128(call.correlation_id.as_bytes()),
    };
    // Zero is no id in either place.
    let span = (trace as u64 ^ (trace >> 64) as u64).max(1);
    if let Ok(value) = HeaderValue::from_str(&format!("00-{:032x}-{span:016x}-01", trace.max(1))) {
        headers.insert("traceparent", value);
    }
}

fn is_loopback(base_url: &str) -> bool {
    let Ok(url) = Url::parse(base_url) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
