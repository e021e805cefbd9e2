//! Mounts the built-in mocks: real HTTP around `handle(request, now) → reply`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use crate::connectors::Clock;
use crate::connectors::mock::{Mock, Reply, Request};

/// Bytes of a request's body; a bulk upload is the largest thing that anybody sends.
const BODY_MAX: usize = 160 * 1024 * 1024;

/// Where the built-in mocks are mounted.
const MOUNT: &str = "/mock";

/// Makes the mock of a customer's system; `None` where there is none.
pub type MakeMock = dyn Fn(&str, &str) -> Option<Arc<dyn Mock>> + Send + Sync;

/// By customer and system.
type Made = BTreeMap<(String, String), Arc<dyn Mock>>;

/// The built-in mocks, one a (customer, system), made when first asked for.
#[derive(Clone)]
pub struct Mocks {
    clock: Clock,
    make: Arc<MakeMock>,
    made: Arc<Mutex<Made>>,
}

impl Mocks {
    /// Starts with none. `make` decides by the configuration; what it does not know is a 404.
    pub fn new(
        clock: Clock,
        make: impl Fn(&str, &str) -> Option<Arc<dyn Mock>> + Send + Sync + 'static,
    ) -> Self {
        Self { clock, make: Arc::new(make), made: Arc::default() }
    }

    /// Gives the mock of a customer's system, making it where it is new.
    pub fn get(&self, customer: &str, system: &str) -> Option<Arc<dyn Mock>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mock) = made.get(&(customer.to_owned(), system.to_owned())) {
            return Some(Arc::clone(mock));
        }
        let mock = (self.make)(customer, system)?;
        made.insert((customer.to_owned(), system.to_owned()), Arc::clone(&mock));
        Some(mock)
    }

    /// Returns where a mock answers, below an origin such as `http://127.0.0.1:8000`.
    pub fn url(origin: &str, customer: &str, system: &str) -> String {
        format!("{}{MOUNT}/{customer}/{system}", origin.trim_end_matches('/'))
    }

    /// Returns the routes of all mocks: `/mock/{customer}/{system}/…`.
    pub fn router(&self) -> Router {
        let mocks = self.clone();
        let handler = move |request: axum::extract::Request| {
            let mocks = mocks.clone();
            async move { mocks.route(request).await }
        };
        Router::new()
            .route(&format!("{MOUNT}/{{customer}}/{{system}}"), axum::routing::any(handler.clone()))
            .route(&format!("{MOUNT}/{{customer}}/{{system}}/{{*rest}}"), axum::routing::any(handler))
    }

    async fn route(&self, request: axum::extract::Request) -> Response {
        // The path is cut by hand because a mock gets the rest of it as it was sent.
        let mut parts = request.uri().path().splitn(5, '/').skip(2);
        let (Some(customer), Some(system)) = (parts.next(), parts.next()) else {
            return plain(StatusCode::NOT_FOUND, "no such mock");
        };
        let mount = format!("{MOUNT}/{customer}/{system}");
        match self.get(customer, system) {
            Some(mock) => answer(mock, &self.clock, &mount, request).await,
            None => plain(StatusCode::NOT_FOUND, "this customer has no such system with a built-in mock"),
        }
    }
}

/// Returns the routes of one mock at the root.
pub fn router(mock: Arc<dyn Mock>, clock: Clock) -> Router {
    Router::new().fallback(move |request: axum::extract::Request| {
        let (mock, clock) = (Arc::clone(&mock), Arc::clone(&clock));
        async move { answer(mock, &clock, "", request).await }
    })
}

/// Returns the routes of several mocks, each below its name: `/{name}/…`.
pub fn router_of_many(mocks: BTreeMap<String, Arc<dyn Mock>>, clock: Clock) -> Router {
    let mocks = Arc::new(mocks);
    Router::new().fallback(move |request: axum::extract::Request| {
        let (mocks, clock) = (Arc::clone(&mocks), Arc::clone(&clock));
        async move {
            let name = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
            match mocks.get(&name) {
                Some(mock) => answer(Arc::clone(mock), &clock, &format!("/{name}"), request).await,
                None => plain(StatusCode::NOT_FOUND, "no system of this name is played here"),
            }
        }
    })
}

/// Serves one mock at the root until `stop` is done.
pub async fn serve(
    mock: Arc<dyn Mock>,
    clock: Clock,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    serve_routes(router(mock, clock), listener, stop).await
}

/// Serves the routes of mocks until `stop` is done.
pub async fn serve_routes(
    routes: Router,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

/// Takes the transport off a request, asks the mock, and puts it back on the reply.
async fn answer(
    mock: Arc<dyn Mock>,
    clock: &Clock,
    mount: &str,
    request: axum::extract::Request,
) -> Response {
    let now = clock();
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long or broke off");
    };
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let host = headers.iter().find(|(name, _)| name == "host").map_or("localhost", |(_, host)| host);
    let path = head.uri.path();
    let path = path.strip_prefix(mount).unwrap_or(path);
    let request = Request {
        method: head.method.as_str().to_owned(),
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        query: head.uri.query().unwrap_or_default().to_owned(),
        base_url: format!("http://{host}{mount}"),
        headers,
        body: body.to_vec(),
    };
    // A mock locks its table and may write its file: nothing for a thread that serves others.
    match tokio::task::spawn_blocking(move || mock.handle(&request, now)).await {
        Ok(reply) => respond(reply).await,
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the mock broke down on this request"),
    }
}

async fn respond(reply: Reply) -> Response {
    tokio::time::sleep(reply.delay).await;
    if reply.cut {
        return cut();
    }
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Cuts the connection: a body that fails at its first byte makes the server drop the connection
/// before the head, still in its buffer, has gone out.
fn cut() -> Response {
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "cut on purpose");
    Response::new(Body::from_stream(futures_util::stream::once(async { Err::<Vec<u8>, _>(broken) })))
}

fn plain(status: StatusCode, message: &'static str) -> Response {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    response
}
