//! The ServiceNow connector against its mock, over real HTTP on loopback.

mod cursors;
mod mock;
mod reading;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use record_sync::connectors::mock::{Faults, Mock, MockSettings, Reply, Request};
use record_sync::connectors::{
    Batch, Clock, Delivery, End, Gate, Open, Outcome, Report, StreamSpec, System, Wanted, Write, find,
};
use record_sync::engine::fault::{Fault, FaultCode, FaultKind};
use record_sync::engine::record::{Change, Cursor, Key, Record, Schema, Timestamp, Value};
use record_sync::http::mocks;
use tokio::task::JoinSet;

use crate::conformance::{Harness, Row, call};

conformance!(loose);

mod strict {
    conformance!(super::strict);
}

mod listed {
    conformance!(super::listed);
}

/// Lets everything through and counts it.
#[derive(Default)]
struct Open24 {
    entered: AtomicUsize,
    left: AtomicUsize,
}

#[async_trait]
impl Gate for Open24 {
    async fn enter(&self, _class: record_sync::connectors::Class) -> Result<u64, Fault> {
        Ok(self.entered.fetch_add(1, Ordering::SeqCst) as u64)
    }

    fn leave(&self, _ticket: u64, report: Report) {
        assert!(report.quota.is_none_or(|quota| quota.limit > 0));
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

/// A mock on loopback with a clock that moves only when it is looked at or told to.
struct World {
    mock: Arc<dyn Mock>,
    now: Arc<AtomicI64>,
    url: String,
    gate: Arc<Open24>,
    spec: StreamSpec,
    names: [&'static str; 3],
    unknown: Option<StreamSpec>,
    _server: JoinSet<()>,
}

fn spec(stream: &str, key: &str) -> StreamSpec {
    StreamSpec {
        stream: stream.to_owned(),
        key: vec![key.to_owned()],
        options: serde_json::Map::new(),
        fields: None,
        consumer: "test".to_owned(),
    }
}

async fn world(settings: MockSettings, spec: StreamSpec, names: [&'static str; 3]) -> World {
    let mock = (find("servicenow").unwrap().mock.unwrap())(settings);
    let now = Arc::new(AtomicI64::new(1_769_853_600_000));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (served, clock) = (Arc::clone(&mock), clock(&now));
    let mut server = JoinSet::new();
    server.spawn(async move {
        mocks::serve(served, clock, listener, std::future::pending()).await.unwrap();
    });
    World { mock, now, url, gate: Arc::default(), spec, names, unknown: None, _server: server }
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = Arc::clone(now);
    Arc::new(move || Timestamp(now.fetch_add(1, Ordering::SeqCst)))
}

/// Every field exists from its first use on.
async fn loose() -> World {
    world(MockSettings::default(), spec("incident", "record_id"), ["record_id", "name", "email"]).await
}

/// The real service's rules: only what exists, texts cut where their fields end.
async fn strict() -> World {
    let settings = MockSettings { strict: true, ..MockSettings::default() };
    let names = ["correlation_id", "short_description", "description"];
    let mut world = world(settings, spec("incident", "correlation_id"), names).await;
    world.unknown = Some(spec("incident", "corelation_id"));
    world
}

/// Deletions found by listing, where nobody may read the audit.
async fn listed() -> World {
    let mut world = strict().await;
    world.spec.options.insert("deletes".into(), "list".into());
    world.unknown = Some(spec("nonsense", "correlation_id"));
    world
}

impl World {
    fn settings(&self) -> serde_json::Value {
        serde_json::json!({"base_url": self.url, "username": "sync@example.test", "password": "pa55word"})
    }

    fn open(&self, settings: serde_json::Value) -> Arc<dyn System> {
        let open = Open {
            customer: "default".into(),
            system: "servicenow".into(),
            settings,
            base_dir: ".".into(),
            mock_url: Some(self.url.clone()),
            gate: Arc::clone(&self.gate) as Arc<dyn Gate>,
            clock: clock(&self.now),
            vault: Arc::new(record_sync::connectors::MemoryVault::default()),
            bounds: Default::default(),
        };
        (find("servicenow").unwrap().open)(open).unwrap()
    }

    /// Asks the mock without the network.
    fn ask(&self, method: &str, path: &str, query: &str, body: &str) -> Reply {
        let now = Timestamp(self.now.fetch_add(1, Ordering::SeqCst));
        let mut request = Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            body: body.into(),
            base_url: "http://mock.test".into(),
            ..Request::default()
        };
        if path.starts_with("/api/") {
            request.headers = vec![
                ("authorization".into(), "Basic c3luY0BleGFtcGxlLnRlc3Q6cGE1NXdvcmQ=".into()),
                ("content-type".into(), "application/json".into()),
            ];
        }
        self.mock.handle(&request, now)
    }

    fn faults(&self, faults: &Faults) {
        let body = serde_json::to_string(faults).unwrap();
        assert_eq!(self.ask("PUT", "/__admin/faults", "", &body).status, 200);
    }

    /// Gives the arrivals as `METHOD path status` and forgets them.
    fn arrivals(&self) -> Vec<String> {
        let log = json(&self.ask("GET", "/__admin/arrivals", "", ""));
        self.ask("DELETE", "/__admin/arrivals", "", "");
        let line = |arrival: &serde_json::Value| {
            format!(
                "{} {} {}",
                arrival["method"].as_str().unwrap(),
                arrival["path"].as_str().unwrap(),
                arrival["status"]
            )
        };
        log.as_array().unwrap().iter().map(line).collect()
    }

    fn push(&self, pairs: &[(&str, Value)]) -> String {
        let record = Record::from_pairs(pairs.iter().cloned());
        let now = Timestamp(self.now.fetch_add(1, Ordering::SeqCst));
        self.mock.push(Some(&self.spec.stream), &self.spec.key[0], &record, now).unwrap()
    }

    fn remove(&self, id: &str) {
        let path = format!("/api/now/table/{}/{id}", self.spec.stream);
        assert_eq!(self.ask("DELETE", &path, "", "").status, 204);
    }

    fn objects(&self) -> Vec<serde_json::Value> {
        let reply = self.ask("GET", &format!("/__admin/records/{}", self.spec.stream), "", "");
        json(&reply).as_array().unwrap().clone()
    }

    fn batch(&self, writes: Vec<(&str, Option<&str>, Write)>) -> Batch {
        let deliveries = writes.into_iter().map(|(key, id, write)| Delivery {
            key: Key::from_text(key).unwrap(),
            id: id.map(Into::into),
            write,
            expected: None,
            revision: None,
        });
        Batch { shape: Schema::new(self.names), deliveries: deliveries.collect() }
    }
}

fn json(reply: &Reply) -> serde_json::Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn create(key: &str) -> (&str, Option<&str>, Write) {
    (key, None, Write::Create(vec![key.into(), "Name".into(), Value::Absent].into()))
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::Stale(Some(_)) => "stale",
        Outcome::Stale(None) => "stale, gone",
        Outcome::Failed(fault) => match fault.kind {
            FaultKind::Transient => "transient",
            FaultKind::Throttled { .. } => "throttled",
            FaultKind::Rejected => "rejected",
            _ => "other",
        },
    }
}

#[async_trait]
impl Harness for World {
    fn system(&self) -> Arc<dyn System> {
        self.open(self.settings())
    }

    fn spec(&self) -> StreamSpec {
        self.spec.clone()
    }

    fn fields(&self) -> [&'static str; 3] {
        self.names
    }

    fn unknown(&self) -> Option<StreamSpec> {
        self.unknown.clone()
    }

    fn poison(&self) -> Option<Row> {
        // A correlation id has 100 characters; a longer one would never be found again.
        (self.names[0] == "correlation_id").then(|| Row::new("k".repeat(101), "x", "x"))
    }

    async fn insert(&self, rows: &[Row]) {
        for row in rows {
            let values = [row.key.as_str(), &row.name, &row.email].map(Value::text);
            let pairs: Vec<(&str, Value)> = self.names.into_iter().zip(values).collect();
            self.push(&pairs);
        }
    }

    async fn update(&self, rows: &[Row]) {
        self.insert(rows).await;
    }

    async fn delete(&self, keys: &[String]) {
        for object in self.objects() {
            if keys.iter().any(|key| object[self.names[0]] == key.as_str()) {
                self.remove(object["sys_id"].as_str().unwrap());
            }
        }
    }

    async fn read_all(&self) -> Vec<Row> {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let [key, name, email] = self.names;
        self.objects()
            .iter()
            .map(|object| Row::new(text(&object[key]), text(&object[name]), text(&object[email])))
            .collect()
    }

    /// Past the overlap, so that nothing has to be read again.
    async fn settle(&self) {
        self.now.fetch_add(61_000, Ordering::SeqCst);
    }
}
