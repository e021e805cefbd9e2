//! A service over HTTP that takes batches of records and does nothing else, and how record-sync is told of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use super::data;

/// What stands in the file of every workload that sends to the service.
const SETTINGS: &str = r#"
[service]
listen = "127.0.0.1:0"
state = "sqlite:state.sqlite"
rules = "rules.json"
log_dir = "logs"

[default]
max_requests = 1000000000
window_size = 1
batch_size = BATCH
flush_interval = 0

[default.systems.left]
connector = "sqlite"
path = "left.sqlite"

[default.systems.right]
connector = "rest"
base_url = "URL"
in_flight = 16

[default.systems.right.streams.records]
id = "/record_id"

[default.systems.right.streams.records.list]
path = "/records"
records = "/records"

[default.systems.right.streams.records.get]
path = "/records/{id}"

[default.systems.right.streams.records.find]
method = "POST"
path = "/find"
items = "/keys"
item = { id = "{key}" }
records = "/records"
field = "record_id"
max = 200

[default.systems.right.streams.records.create]
path = "/records"
wrap = "/records"
upsert = "record_id"
with_id = true
batch = { max = 200, results = "/results", by = "index" }

[default.systems.right.streams.records.update]
method = "POST"
path = "/records"
wrap = "/records"
item = { record_id = "{key}" }
batch = { max = 200, results = "/results", by = "index" }

[default.links.bench]
a = { system = "left", stream = "users", key = "record_id" }
b = { system = "right", stream = "records", key = "record_id" }
direction = "a_to_b"
"#;

/// The service, on a thread of its own; it ends with the program.
#[derive(Clone)]
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    latency: Mutex<Duration>,
    /// When each record came last, by its number.
    arrived: Mutex<HashMap<u64, Instant>>,
}

#[derive(serde::Deserialize)]
struct Body {
    records: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    record_id: Number,
}

/// As the source has it, or as it stands in a key.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

impl Service {
    /// Starts it.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let (told, address) = std::sync::mpsc::channel();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let app = Router::new()
                    .route("/records", post(take).get(list))
                    .route("/records/{id}", get(nothing))
                    .route("/find", post(list))
                    .with_state(serving);
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                told.send(listener.local_addr().expect("an address")).expect("the program");
                let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
                    let _ = stream.set_nodelay(true);
                });
                axum::serve(listener, app).await.expect("the service");
            });
        });
        Self { address: address.recv().expect("the service"), shared }
    }

    /// Returns where records go.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has every answer take so long from now on, and forgets what came.
    pub fn begin(&self, latency: Duration) {
        *lock(&self.shared.latency) = latency;
        lock(&self.shared.arrived).clear();
    }

    /// Counts the records that have come.
    pub fn count(&self) -> usize {
        lock(&self.shared.arrived).len()
    }

    /// Gives when each record came last, by its number.
    pub fn arrived(&self) -> HashMap<u64, Instant> {
        lock(&self.shared.arrived).clone()
    }

    /// Writes rules and a configuration that send here, so many records a call; `link` are more keys of the link.
    pub fn configure(&self, folder: &Path, batch: usize, link: &str) -> PathBuf {
        data::rules(folder);
        let path = folder.join("service.toml");
        let text = SETTINGS.replace("URL", &self.url()).replace("BATCH", &batch.to_string());
        std::fs::write(&path, text + link).expect("service.toml");
        path
    }
}

async fn take(State(shared): State<Arc<Shared>>, body: Bytes) -> impl IntoResponse {
    let latency = *lock(&shared.latency);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let body: Body = serde_json::from_slice(&body).expect("records");
    let now = Instant::now();
    let mut arrived = lock(&shared.arrived);
    for row in &body.records {
        let number = match &row.record_id {
            Number::Plain(number) => *number,
            Number::Text(text) => text.parse().expect("a number"),
        };
        arrived.insert(number, now);
    }
    drop(arrived);
    (StatusCode::OK, format!("{{\"results\":[{}]}}", vec!["{}"; body.records.len()].join(",")))
}

async fn list() -> &'static str {
    r#"{"records":[]}"#
}

async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic before")
}
