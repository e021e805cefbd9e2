//! The connector of described APIs against mocks made from the same descriptions, over real HTTP on loopback.

mod reading;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use record_sync::connectors::mock::{Faults, Mock, MockSettings, Reply, Request};
use record_sync::connectors::{
    Batch, Clock, Delivery, Gate, Open, Outcome, StreamSpec, System, Wanted, Write, find,
};
use record_sync::engine::fault::{Fault, FaultKind};
use record_sync::engine::record::{Key, Record, Schema, Timestamp, Value};
use record_sync::http::mocks;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::conformance::{FreeGate, Harness, Row, call};

mod feed {
    conformance!(super::feed);
}

mod scheduler {
    conformance!(super::scheduler);
}

mod properties {
    conformance!(super::properties);
}

mod linked {
    conformance!(super::linked);
}

mod numbered {
    conformance!(super::numbered);
}

/// A mock on loopback with a clock that moves only when it is looked at or told to.
struct World {
    mock: Arc<dyn Mock>,
    now: Arc<AtomicI64>,
    url: String,
    description: Json,
    key: &'static str,
    /// Where the fields stand in a record.
    values: &'static str,
    /// What a caller has to send.
    headers: Vec<(String, String)>,
    _server: JoinSet<()>,
}

const STREAM: &str = "people";

fn spec(stream: &str, key: &str) -> StreamSpec {
    StreamSpec {
        stream: stream.to_owned(),
        key: vec![key.to_owned()],
        options: serde_json::Map::new(),
        fields: None,
        consumer: "test".to_owned(),
    }
}

/// Plays a system with one stream.
async fn world(system: Json, stream: Json, values: &'static str, header: (&str, &str)) -> World {
    let mut description = system;
    description["base_url"] = "mock".into();
    description["streams"] = json!({ STREAM: stream });
    let settings = MockSettings { description: description.clone(), ..MockSettings::default() };
    let mock = (find("rest").unwrap().mock.unwrap())(settings);
    let now = Arc::new(AtomicI64::new(1_769_853_600_000));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (served, clock) = (Arc::clone(&mock), clock(&now));
    let mut server = JoinSet::new();
    server.spawn(async move {
        mocks::serve(served, clock, listener, std::future::pending()).await.unwrap();
    });
    let headers = vec![(header.0.to_owned(), header.1.to_owned())];
    World { mock, now, url, description, key: "record_id", values, headers, _server: server }
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = Arc::clone(now);
    Arc::new(move || Timestamp(now.fetch_add(1, Ordering::SeqCst)))
}

/// A feed as an ERP has it: cursors, a bearer token, everything read each time, one record a request.
async fn feed() -> World {
    let page = json!({"style": "cursor", "size": 50, "size_param": "limit", "param": "cursor", "next": "/meta/next"});
    let stream = json!({
        "required": ["name"],
        "list": {"path": "/v1/people", "query": {"expand": "all"}, "records": "/data", "page": page},
        "get": {"path": "/v1/people/{id}", "record": "/data"},
        "find": {"path": "/v1/people", "query": {"record_id": "{key}"}, "records": "/data"},
        "create": {"path": "/v1/people", "wrap": "/data", "reply": "/data"},
        "update": {"path": "/v1/people/{id}", "wrap": "/data", "reply": "/data"},
        "delete": {"path": "/v1/people/{id}"},
    });
    let system = json!({"auth": {"type": "bearer"}});
    world(system, stream, "", ("authorization", "Bearer token")).await
}

/// A service that counts its records, writes in batches told by their order, and sends changes by stamp.
async fn scheduler() -> World {
    let page =
        json!({"style": "offset", "size": 40, "size_param": "max", "param": "start", "total": "/total"});
    let batch = json!({"max": 20, "results": "/results"});
    let stream = json!({
        "id": "/ref", "id_number": true, "stamp": "/changed", "stamp_format": "epoch_millis",
        "required": ["name"],
        "list": {"path": "/people", "records": "/items", "page": page},
        "changes": {"query": {"since": "{stamp}"}, "ordered": true},
        "get": {"path": "/people", "query": {"refs": "{ids}"}, "records": "/items", "max": 30},
        "find": {"path": "/people", "query": {"record_id": "{keys}"}, "records": "/items", "max": 30, "join": "|"},
        "create": {"path": "/people/bulk", "wrap": "/items", "reply": "/record", "success": "/status",
                   "error": "/error", "batch": batch},
        "update": {"path": "/people/bulk", "method": "PATCH", "wrap": "/items", "reply": "/record",
                   "success": "/status", "error": "/error", "batch": batch},
        "delete": {"path": "/people/bulk", "method": "DELETE", "wrap": "/items", "success": "/status",
                   "batch": batch},
    });
    let system = json!({"auth": {"type": "api_key", "header": "X-Api-Key"}});
    world(system, stream, "", ("x-api-key", "token")).await
}

/// As HubSpot has it: fields inside, searches and upserts by POST, errors apart.
async fn properties() -> World {
    let page = json!({"style": "cursor", "size": 100, "size_param": "limit", "param": "after", "next": "/paging/next/after"});
    let traced = |item: Json| {
        json!({"wrap": "/inputs", "reply": "", "item": item, "batch": {"max": 100, "results": "/results",
            "errors": "/errors", "by": "number", "echo": "/trace", "error_echo": "/context/trace"}})
    };
    let with = |mut write: Json, path: &str, upsert: bool| {
        write["path"] = path.into();
        if upsert {
            write["upsert"] = "record_id".into();
        }
        write
    };
    let stream = json!({
        "values": "/properties", "stamp": "/updatedAt", "required": ["name"],
        "paths": {"email": "/properties/contact/mails/0/value"},
        "list": {"path": "/objects/people", "records": "/results", "page": page},
        "changes": {"method": "POST", "path": "/objects/people/search",
            "body": {"filters": [{"property": "updatedAt", "operator": "GTE", "value": "{stamp}"}]},
            "page": {"style": "cursor", "size": 100, "size_param": "/limit", "param": "/after",
                     "next": "/paging/next/after"},
            "ordered": true, "records_max": 150},
        "get": {"path": "/objects/people/{id}"},
        "find": {"method": "POST", "path": "/objects/people/batch/read", "body": {"idProperty": "record_id"},
            "items": "/inputs", "item": {"id": "{key}"}, "records": "/results", "field": "record_id"},
        "create": with(traced(json!({"id": "{key}", "idProperty": "record_id", "trace": "{n}"})),
            "/objects/people/batch/upsert", true),
        "update": with(traced(json!({"trace": "{n}"})), "/objects/people/batch/update", false),
        "delete": {"path": "/objects/people/batch/archive", "wrap": "/inputs", "batch": {"max": 100}},
    });
    world(json!({"auth": {"type": "bearer"}}), stream, "/properties", ("authorization", "Bearer token")).await
}

/// Next URLs, OAuth, records that are sent whole, deleted ones that stay marked.
async fn linked() -> World {
    let stream = json!({
        "stamp": "/updated", "stamp_format": "%Y-%m-%d %H:%M:%S", "deleted": "/gone", "required": ["name"],
        "list": {"path": "/people", "records": "", "page": {"style": "link", "size": 30, "size_param": "per_page"}},
        "changes": {"path": "/people/changed", "records": "/people", "query": {"filter": "updated>{stamp}"}, "exclusive": true,
            "page": {"style": "next_url", "size": 30, "size_param": "per_page", "next": "/next"}},
        "get": {"path": "/people/{id}"},
        "find": {"path": "/people/by/{key}", "records": "/found", "field": "record_id"},
        "create": {"path": "/people", "reply": ""},
        "update": {"path": "/people/{id}", "method": "PUT", "reply": "", "if_match": true},
        "delete": {"path": "/people/{id}"},
    });
    let auth = json!({"type": "oauth", "token_url": "/oauth/token", "scope": "all", "credentials": "header"});
    let mut world = world(json!({ "auth": auth }), stream, "", ("", "")).await;
    let form = "grant_type=client_credentials";
    // client-id:client-secret
    world.headers = vec![("authorization".into(), "Basic Y2xpZW50LWlkOmNsaWVudC1zZWNyZXQ=".into())];
    let login = world.ask("POST", "/oauth/token", "", form);
    let token = json(&login)["access_token"].as_str().unwrap().to_owned();
    world.headers = vec![("authorization".into(), format!("Bearer {token}"))];
    world
}

/// Numbered pages, ids of our own, keys in the query, a search that shows only ids.
async fn numbered() -> World {
    let stream = json!({
        "required": ["name"],
        "list": {"path": "/people", "records": "/people", "page": {"style": "page", "size": 30, "size_param": "size",
            "param": "page", "first": 0, "more": "/more"}},
        "get": {"path": "/people/{id}", "record": "/person"},
        "find": {"path": "/search", "query": {"term": "{key}", "exact": "true"}, "records": "/hits", "id": "/item/id",
            "field": "record_id"},
        "create": {"path": "/people", "success": "/ok", "reply": "/person"},
        "update": {"path": "/people/{id}", "method": "PUT", "whole": false, "success": "/ok"},
        "delete": {"path": "/people/{id}", "success": "/ok"},
    });
    let system = json!({"auth": {"type": "api_key", "query": "key"}, "errors": ["/why"]});
    world(system, stream, "", ("", "")).await
}

impl World {
    fn settings(&self) -> Json {
        let mut settings = self.description.clone();
        settings["base_url"] = self.url.as_str().into();
        let auth = &mut settings["auth"];
        // What the mock knows, as a user would write it.
        match auth["type"].as_str().unwrap_or_default() {
            "bearer" => auth["token"] = "token".into(),
            "api_key" => auth["api_key"] = "token".into(),
            "oauth" => {
                auth["client_id"] = "client-id".into();
                auth["client_secret"] = "client-secret".into();
            }
            _ => {}
        }
        settings
    }

    fn open(&self, settings: Json) -> Arc<dyn System> {
        let open = Open {
            customer: "default".into(),
            system: "api".into(),
            settings,
            base_dir: ".".into(),
            mock_url: Some(self.url.clone()),
            gate: Arc::new(FreeGate) as Arc<dyn Gate>,
            clock: clock(&self.now),
            vault: Arc::new(record_sync::connectors::MemoryVault::default()),
            bounds: Default::default(),
        };
        (find("rest").unwrap().open)(open).unwrap()
    }

    /// Asks the mock without the network.
    fn ask(&self, method: &str, path: &str, query: &str, body: &str) -> Reply {
        let now = Timestamp(self.now.fetch_add(1, Ordering::SeqCst));
        let request = Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            body: body.into(),
            base_url: "http://mock.test".into(),
            headers: self.headers.clone(),
        };
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
        let line = |arrival: &Json| {
            let text = |name: &str| arrival[name].as_str().unwrap().to_owned();
            format!("{} {} {}", text("method"), text("path"), arrival["status"])
        };
        log.as_array().unwrap().iter().map(line).collect()
    }

    fn push(&self, pairs: &[(&str, Value)]) -> String {
        let record = Record::from_pairs(pairs.iter().cloned());
        let now = Timestamp(self.now.fetch_add(1, Ordering::SeqCst));
        self.mock.push(Some(STREAM), self.key, &record, now).unwrap()
    }

    fn objects(&self) -> Vec<Json> {
        let reply = self.ask("GET", &format!("/__admin/records/{STREAM}"), "", "");
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
        Batch { shape: Schema::new(self.fields()), deliveries: deliveries.collect() }
    }

    async fn write(&self, writes: Vec<(&str, Option<&str>, Write)>) -> Result<Vec<Outcome>, Fault> {
        let destination = self.system().destination(&self.spec()).unwrap();
        destination.write(&self.batch(writes), &call()).await
    }
}

fn json(reply: &Reply) -> Json {
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
        spec(STREAM, self.key)
    }

    fn unknown(&self) -> Option<StreamSpec> {
        Some(spec("nonsense", self.key))
    }

    fn poison(&self) -> Option<Row> {
        Some(Row::new("k99999", "", "x"))
    }

    async fn insert(&self, rows: &[Row]) {
        for row in rows {
            let values = [row.key.as_str(), &row.name, &row.email].map(Value::text);
            let pairs: Vec<(&str, Value)> = self.fields().into_iter().zip(values).collect();
            self.push(&pairs);
        }
    }

    async fn update(&self, rows: &[Row]) {
        self.insert(rows).await;
    }

    async fn delete(&self, keys: &[String]) {
        let id = self.description["streams"][STREAM]["id"].as_str().unwrap_or("/id");
        for object in self.objects() {
            let key = object.pointer(&format!("{}/record_id", self.values)).unwrap();
            if keys.iter().any(|wanted| key == wanted.as_str()) {
                let id = object.pointer(id).unwrap();
                let delete = &self.description["streams"][STREAM]["delete"];
                let path = delete["path"].as_str().unwrap().replace("{id}", id.to_string().trim_matches('"'));
                let method = delete["method"].as_str().unwrap_or(match &delete["batch"] {
                    Json::Null => "DELETE",
                    _ => "POST",
                });
                let wrap = delete["wrap"].as_str().unwrap_or("/x").trim_start_matches('/');
                let own = self.description["streams"][STREAM]["id"].as_str().unwrap_or("/id");
                let body = json!({ wrap: [{ own.trim_start_matches('/'): id }] }).to_string();
                let reply = self.ask(method, &path, "key=token", &body);
                assert!((200..300).contains(&reply.status), "{}: {reply:?}", path);
            }
        }
    }

    async fn read_all(&self) -> Vec<Row> {
        let text = |object: &Json, place: String| {
            object.pointer(&place).and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        let email = self.description["streams"][STREAM]["paths"]["email"].as_str();
        let email = email.map_or_else(|| format!("{}/email", self.values), str::to_owned);
        self.objects()
            .iter()
            .map(|object| {
                let field = |name: &str| text(object, format!("{}/{name}", self.values));
                Row::new(field("record_id"), field("name"), text(object, email.clone()))
            })
            .collect()
    }

    /// Past the overlap and the time-out, so that nothing has to be read again.
    async fn settle(&self) {
        self.now.fetch_add(60_000, Ordering::SeqCst);
    }
}
