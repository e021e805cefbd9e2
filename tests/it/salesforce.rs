//! The Salesforce connector against its mock, over real HTTP on loopback.

mod api;
mod at_work;
mod bulk;
mod composite;
mod cursors;
mod door;
mod faults;
mod graves;
mod jobs;
mod logins;
mod soap;
mod streams;
mod switches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use record_sync::connectors::mock::{Mock, MockSettings, Reply, Request};
use record_sync::connectors::{Class, Clock, Gate, Open, Report, StreamSpec, System, find};
use record_sync::engine::fault::Fault;
use record_sync::engine::record::{Record, Timestamp, Value};
use record_sync::http::mocks;
use tokio::task::JoinSet;

use crate::conformance::{Harness, Row};

conformance!(open_org);

mod strict {
    conformance!(super::strict_org);
}

/// Admits everything and counts it.
#[derive(Default)]
pub struct Turnstile {
    pub entered: AtomicUsize,
    pub left: AtomicUsize,
    pub throttled: AtomicUsize,
}

#[async_trait]
impl Gate for Turnstile {
    async fn enter(&self, _class: Class) -> Result<u64, Fault> {
        Ok(self.entered.fetch_add(1, Ordering::SeqCst) as u64)
    }

    fn leave(&self, _ticket: u64, report: Report) {
        self.throttled.fetch_add(usize::from(report.retry_after.is_some()), Ordering::SeqCst);
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

/// An org on loopback. Its clock stands still unless a test moves it, so that nearly everything
/// happens within one second: the hardest case for a keyset over stamps of a second's grain.
pub struct World {
    pub mock: Arc<dyn Mock>,
    /// What goes wrong with single requests on the wire.
    pub door: Arc<door::Door>,
    pub now: Arc<AtomicI64>,
    pub gate: Arc<Turnstile>,
    url: String,
    spec: StreamSpec,
    names: [&'static str; 3],
    strict: bool,
    _server: JoinSet<()>,
}

pub async fn open_org() -> World {
    world(MockSettings::default(), ["record_id", "name", "email"]).await
}

pub async fn strict_org() -> World {
    let settings = MockSettings { strict: true, ..MockSettings::default() };
    world(settings, ["External_Id__c", "LastName", "Email"]).await
}

pub async fn world(settings: MockSettings, names: [&'static str; 3]) -> World {
    let strict = settings.strict;
    let mock = (find("salesforce").unwrap().mock.unwrap())(settings);
    let now = Arc::new(AtomicI64::new(1_769_853_600_000));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let door = Arc::new(door::Door::new(Arc::clone(&mock)));
    let (served, clock) = (Arc::clone(&door) as Arc<dyn Mock>, clock(&now));
    let mut server = JoinSet::new();
    server.spawn(async move {
        mocks::serve(served, clock, listener, std::future::pending()).await.unwrap();
    });
    let spec = StreamSpec {
        stream: "Contact".to_owned(),
        key: vec![names[0].to_owned()],
        options: serde_json::Map::new(),
        fields: Some(names.map(str::to_owned).into()),
        consumer: "test".to_owned(),
    };
    World { mock, door, now, gate: Arc::default(), url, spec, names, strict, _server: server }
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = Arc::clone(now);
    Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
}

impl World {
    /// Opens the system with the credentials that the standalone mock knows.
    pub fn open(&self, extra: serde_json::Value) -> Arc<dyn System> {
        let mut settings = serde_json::json!({
            "base_url": self.url, "client_id": "client-id", "client_secret": "client-secret",
        });
        for (name, value) in extra.as_object().unwrap() {
            settings[name] = value.clone();
        }
        let open = Open {
            customer: "default".into(),
            system: "salesforce".into(),
            settings,
            base_dir: ".".into(),
            mock_url: Some(self.url.clone()),
            gate: Arc::clone(&self.gate) as Arc<dyn Gate>,
            clock: clock(&self.now),
            vault: Arc::new(record_sync::connectors::MemoryVault::default()),
            bounds: Default::default(),
        };
        (find("salesforce").unwrap().open)(open).unwrap()
    }

    pub fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Asks the mock past HTTP.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
            base_url: self.url.clone(),
        };
        self.mock.handle(&request, Timestamp(self.now.load(Ordering::SeqCst)))
    }

    /// Logs another user in; gives the value of the header.
    pub fn login(&self) -> String {
        let form = "grant_type=password&client_id=client-id&client_secret=client-secret\
                    &username=sync%40example.test&password=pa55wordsectoken";
        let reply = self.ask("POST", "/services/oauth2/token", &[], form);
        assert_eq!(reply.status, 200, "{}", text(&reply));
        format!("Bearer {}", json(&reply)["access_token"].as_str().unwrap())
    }

    /// Asks the API as that other user.
    pub fn api(&self, method: &str, path: &str, body: &str) -> Reply {
        let token = self.login();
        self.ask(method, &format!("/services/data/v61.0/{path}"), &[("authorization", &token)], body)
    }

    /// Returns the live records, past the wire.
    pub fn standing(&self) -> Vec<serde_json::Value> {
        let reply = self.ask("GET", "/__admin/records/Contact", &[], "");
        json(&reply).as_array().unwrap().clone()
    }

    /// Returns the API requests that arrived, tokens left out: `METHOD path status records`.
    pub fn arrivals(&self) -> Vec<String> {
        let log = json(&self.ask("GET", "/__admin/arrivals", &[], ""));
        let line = |it: &serde_json::Value| {
            let path = it["path"].as_str().unwrap().trim_start_matches("/services/data/v61.0").to_owned();
            format!("{} {path} {} {}", it["method"].as_str().unwrap(), it["status"], it["records"])
        };
        log.as_array().unwrap().iter().map(line).filter(|line| !line.contains("oauth2")).collect()
    }

    pub fn forget_arrivals(&self) {
        self.ask("DELETE", "/__admin/arrivals", &[], "");
    }

    pub fn set_faults(&self, faults: &str) {
        assert_eq!(self.ask("PUT", "/__admin/faults", &[], faults).status, 200);
    }

    /// Deletes records and empties the bin.
    pub async fn purge(&self, keys: &[String]) {
        self.delete(keys).await;
        assert_eq!(self.ask("DELETE", "/__admin/bin/Contact", &[], "").status, 204);
    }

    fn push(&self, row: &Row) {
        let [key, name, email] = self.names;
        let record = Record::from_pairs([
            (key, Value::text(&row.key)),
            (name, Value::text(&row.name)),
            (email, Value::text(&row.email)),
        ]);
        let now = Timestamp(self.now.load(Ordering::SeqCst));
        self.mock.push(None, key, &record, now).unwrap();
    }

    fn ids(&self) -> BTreeMap<String, String> {
        let of = |it: &serde_json::Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
        self.standing().iter().map(|it| (of(it, self.names[0]), of(it, "Id"))).collect()
    }
}

pub fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

pub fn json(reply: &Reply) -> serde_json::Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", text(reply)))
}

#[async_trait]
impl Harness for World {
    fn system(&self) -> Arc<dyn System> {
        self.open(serde_json::json!({}))
    }

    fn spec(&self) -> StreamSpec {
        self.spec.clone()
    }

    fn fields(&self) -> [&'static str; 3] {
        self.names
    }

    fn unknown(&self) -> Option<StreamSpec> {
        self.strict.then(|| StreamSpec { key: vec!["Nope__c".to_owned()], ..self.spec.clone() })
    }

    fn unfit(&self, text: &str) -> bool {
        // The real service trims.
        self.strict && text.trim() != text
    }

    fn poison(&self) -> Option<Row> {
        self.strict.then(|| Row::new("k666", "Poison", "not an address"))
    }

    async fn insert(&self, rows: &[Row]) {
        rows.iter().for_each(|row| self.push(row));
    }

    async fn update(&self, rows: &[Row]) {
        rows.iter().for_each(|row| self.push(row));
    }

    async fn delete(&self, keys: &[String]) {
        let ids = self.ids();
        for key in keys {
            let reply = self.api("DELETE", &format!("sobjects/Contact/{}", ids[key]), "");
            assert_eq!(reply.status, 204, "{}", text(&reply));
        }
    }

    async fn read_all(&self) -> Vec<Row> {
        let of = |it: &serde_json::Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
        let [key, name, email] = self.names;
        self.standing().iter().map(|it| Row::new(of(it, key), of(it, name), of(it, email))).collect()
    }
}
