//! The Outreach connector against its mock, over real HTTP on loopback.

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
    conformance!(super::strict_accounts);
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
    let mock = (find("outreach").unwrap().mock.unwrap())(settings);
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

async fn loose() -> World {
    world(MockSettings::default(), spec("prospects", "record_id"), ["record_id", "name", "email"]).await
}

/// The real service's rules: only what exists, keys only by what it filters by.
async fn strict_accounts() -> World {
    let settings = MockSettings { strict: true, ..MockSettings::default() };
    let mut world = world(settings, spec("account", "customId"), ["customId", "name", "domain"]).await;
    world.unknown = Some(spec("nonsense", "customId"));
    world
}

impl World {
    fn settings(&self) -> serde_json::Value {
        serde_json::json!({"base_url": self.url, "client_id": "client-id", "client_secret": "client-secret",
            "refresh_token": "or-refresh-1"})
    }

    fn open(&self, settings: serde_json::Value) -> Arc<dyn System> {
        let open = Open {
            customer: "default".into(),
            system: "outreach".into(),
            settings,
            base_dir: ".".into(),
            mock_url: Some(self.url.clone()),
            gate: Arc::clone(&self.gate) as Arc<dyn Gate>,
            clock: clock(&self.now),
        };
        (find("outreach").unwrap().open)(open).unwrap()
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
            let form = "grant_type=refresh_token&client_id=client-id&client_secret=client-secret&refresh_token=or-refresh-1";
            let login = self.ask("POST", "/oauth/token", "", form);
            let token = json(&login)["access_token"].as_str().unwrap().to_owned();
            request.headers = vec![
                ("authorization".into(), format!("Bearer {token}")),
                ("content-type".into(), "application/vnd.api+json".into()),
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
    (key, None, Write::Create(vec![key.into(), "Name".into(), Value::Absent]))
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
        // An account has to have a name.
        self.unknown.as_ref().map(|_| Row::new("k99999", "", "x"))
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
                let resource = if self.spec.stream == "account" { "accounts" } else { &self.spec.stream };
                let path = format!("/api/v2/{resource}/{}", object["id"]);
                assert_eq!(self.ask("DELETE", &path, "", "").status, 204);
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

    /// Past the overlap and the time-out, so that nothing has to be read again.
    async fn settle(&self) {
        self.now.fetch_add(60_000, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_whose_reply_was_lost_makes_no_second_record() {
    let world = loose().await;
    let destination = world.system().destination(&world.spec).unwrap();
    world.faults(&Faults { rate_lost_reply: 1.0, ..Faults::default() });
    // The very login is lost: nothing can be said of any record.
    let fault = destination.write(&world.batch(vec![create("a")]), &call()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Transient);
    world.faults(&Faults::default());
    destination.look_up(&[], &call()).await.unwrap();
    assert!(world.objects().is_empty());

    // The mock draws from the seed: at this rate some creates are lost after they were applied.
    let mut lost = 0;
    let keys: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    for _ in 0..30 {
        world.faults(&Faults { rate_lost_reply: 0.3, ..Faults::default() });
        for key in &keys {
            let batch = world.batch(vec![create(key)]);
            if let Ok(outcomes) = destination.write(&batch, &call()).await
                && let Outcome::Failed(fault) = &outcomes[0]
            {
                assert!(fault.may_have_happened, "{fault}");
                lost += 1;
            }
        }
    }
    assert!(lost > 5, "{lost} replies were lost");
    world.faults(&Faults::default());
    let outcomes =
        destination.write(&world.batch(keys.iter().map(|key| create(key)).collect()), &call()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| kind(outcome) == "delivered"), "its own record is found again");
    assert_eq!(world.objects().len(), keys.len(), "none twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_look_up_serves_all_creates_of_a_batch() {
    let world = loose().await;
    let destination = world.system().destination(&world.spec).unwrap();
    world.push(&[("record_id", 7.into()), ("name", "Somebody else's".into())]);
    world.push(&[("record_id", "with, comma".into()), ("name", "Name".into())]);
    destination.write(&world.batch(vec![create("warm up")]), &call()).await.unwrap();
    world.arrivals();
    let writes = vec![create("1"), create("7"), create("with, comma"), create("2..3"), create("")];
    let outcomes = destination.write(&world.batch(writes), &call()).await.unwrap();
    let kinds: Vec<&str> = outcomes.iter().map(kind).collect();
    assert_eq!(kinds, ["delivered", "stale", "delivered", "delivered", "delivered"]);
    let expected = [
        "GET /api/v2/prospects 200",
        "POST /api/v2/prospects 201",
        "POST /api/v2/prospects 201",
        "POST /api/v2/prospects 201",
    ];
    assert_eq!(world.arrivals(), expected);
    assert_eq!(world.gate.entered.load(Ordering::SeqCst), world.gate.left.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_and_deletes_of_what_is_gone_say_so() {
    let world = loose().await;
    let destination = world.system().destination(&world.spec).unwrap();
    let update = |key: &str| Write::Update(vec![key.into(), "New".into(), Value::Absent]);
    world.push(&[("record_id", "a".into())]);
    let writes = vec![
        ("a", None, update("a")),
        ("b", None, update("b")),
        ("c", Some("99"), update("c")),
        ("d", Some("99"), Write::Delete),
        ("e", None, Write::Delete),
    ];
    let outcomes = destination.write(&world.batch(writes), &call()).await.unwrap();
    let kinds: Vec<&str> = outcomes.iter().map(kind).collect();
    assert_eq!(kinds, ["delivered", "stale, gone", "stale, gone", "delivered", "delivered"]);
    assert_eq!(world.objects()[0]["name"], "New", "found by its key");
    let found = destination
        .look_up(&[Wanted { key: Key::from_text("a").unwrap(), id: Some("99".into()) }], &call())
        .await
        .unwrap();
    assert_eq!(found[0].as_ref().unwrap().meta.id.as_deref(), Some("1"), "made again under another id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_service_is_not_knocked_at_again() {
    let world = loose().await;
    let destination = world.system().destination(&world.spec).unwrap();
    destination.write(&world.batch(vec![create("warm up")]), &call()).await.unwrap();
    let id = world.objects()[0]["id"].to_string();
    world.arrivals();
    for (faults, calls, expected, why) in [
        (
            Faults { rate_429: 1.0, retry_after_seconds: 9, ..Faults::default() },
            1,
            ["throttled"; 5],
            "the first 429 speaks for all",
        ),
        (
            Faults { rate_503: 1.0, ..Faults::default() },
            3,
            ["transient", "transient", "transient", "throttled", "throttled"],
            "three failures in a row, and the untried ones lose no attempt",
        ),
    ] {
        world.faults(&faults);
        let delete = || ("x", Some(id.as_str()), Write::Delete);
        let outcomes =
            destination.write(&world.batch((0..5).map(|_| delete()).collect()), &call()).await.unwrap();
        assert_eq!(outcomes.iter().map(kind).collect::<Vec<_>>(), expected, "{why}");
        assert_eq!(world.arrivals().len(), calls, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_cannot_be_looked_up_is_refused() {
    let world = strict_accounts().await;
    let system = world.system();
    for (stream, key, remedy) in [
        ("accounts", "custom1", "customId"),
        ("prospects", "externalId", "\"id\""),
        ("prospects", "record_id", "\"id\""),
    ] {
        let fault = system.describe(&spec(stream, key), &call()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Fatal);
        assert!(fault.remedy.as_ref().unwrap().contains(remedy), "{stream} {key}: {fault}");
    }
    let info = system.describe(&spec("accounts", "customId"), &call()).await.unwrap();
    assert!(!info.open, "the real schema takes nothing new");
    assert!(info.fields.contains(&"domain".to_owned()) && info.fields.contains(&"owner.id".to_owned()));
    assert!(!info.fields.contains(&"record_id".to_owned()));
    assert!(loose().await.system().describe(&spec("prospects", "id"), &call()).await.unwrap().open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_made_once_and_again_when_the_token_ends() {
    let world = loose().await;
    let system = world.system();
    let mut source = system.source(&world.spec).unwrap();
    source.read(None, 10, &call()).await.unwrap();
    source.read(None, 10, &call()).await.unwrap();
    let list = "GET /api/v2/prospects 200";
    assert_eq!(world.arrivals(), ["POST /oauth/token 200", list, list]);
    world.now.fetch_add(2 * 3_600_000, Ordering::SeqCst);
    source.read(None, 10, &call()).await.unwrap();
    assert_eq!(world.arrivals(), ["POST /oauth/token 200", list], "renewed before it was refused");

    let mut settings = world.settings();
    settings["refresh_token"] = "stolen".into();
    let mut source = world.open(settings).source(&world.spec).unwrap();
    let fault = source.read(None, 10, &call()).await.unwrap_err();
    assert_eq!((fault.kind, fault.code), (FaultKind::Fatal, FaultCode::Auth));
    assert!(world.open(serde_json::json!({"base_url": "mock"})).describe(&world.spec, &call()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_stream_shows_nothing_and_a_late_commit_is_still_seen() {
    let world = loose().await;
    let mut source = world.system().source(&world.spec).unwrap();
    let mut read = async |after: Option<&Cursor>| {
        let page = source.read(after, 1000, &call()).await.unwrap();
        assert_eq!(page.end, End::CaughtUp);
        (page.changes.len(), page.cursor)
    };
    world.push(&[("record_id", "a".into())]);
    let (changes, first) = read(None).await;
    assert_eq!(changes, 1);
    let (changes, _) = read(first.as_ref()).await;
    assert_eq!(changes, 1, "younger than the overlap: once more");
    world.now.fetch_add(60_000, Ordering::SeqCst);
    let (_, cursor) = read(first.as_ref()).await;
    let (_, cursor) = read(cursor.as_ref()).await;
    let (changes, later) = read(cursor.as_ref()).await;
    assert_eq!((changes, &later), (0, &cursor), "at rest nothing is shown and nothing moves");
    world.push(&[("record_id", "b".into())]);
    assert_eq!(read(later.as_ref()).await.0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_link_that_is_refused_loses_nothing() {
    let world = loose().await;
    for number in 0..6 {
        world.push(&[("record_id", number.into())]);
    }
    world.now.fetch_add(60_000, Ordering::SeqCst);
    let mut source = world.system().source(&world.spec).unwrap();
    let first = source.read(None, 2, &call()).await.unwrap();
    let text = first.cursor.unwrap().0;
    assert!(text.contains("after"), "{text}");
    let broken = Cursor(text.replace("after%5D=", "after%5D=!").replace("after]=", "after]=!"));
    let page = source.read(Some(&broken), 10, &call()).await.unwrap();
    let ids: Vec<String> = page
        .changes
        .iter()
        .map(|change| match change {
            Change::Upsert(record) => record.meta.id.clone().unwrap().to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, ["2", "3", "4", "5", "6"], "from the last stamp on, inclusive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trashed_prospect_is_gone() {
    let world = loose().await;
    world.push(&[("record_id", "a".into())]);
    world.push(&[("record_id", "b".into()), ("trashedAt", "2026-01-31T10:00:00.000Z".into())]);
    let system = world.system();
    let mut spec = world.spec.clone();
    spec.fields = Some(vec!["record_id".into(), "name".into()]);
    let mut source = system.source(&spec).unwrap();
    let page = source.read(None, 10, &call()).await.unwrap();
    let [Change::Upsert(_), Change::Delete(tombstone)] = page.changes.as_slice() else {
        panic!("{:?}", page.changes)
    };
    assert_eq!(tombstone.key, Some(Key::from_text("b").unwrap()));
    assert_eq!(tombstone.at, Timestamp::parse_rfc3339("2026-01-31T10:00:00.000Z"));
    assert_eq!(source.list(None, 10, &call()).await.unwrap().keys, [Key::from_text("a").unwrap()]);
    let wanted = ["a", "b"].map(|key| Wanted { key: Key::from_text(key).unwrap(), id: None });
    let found = system.destination(&spec).unwrap().look_up(&wanted, &call()).await.unwrap();
    assert!(found[0].is_some() && found[1].is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_and_relationships_go_both_ways_exactly() {
    let world = loose().await;
    let destination = world.system().destination(&world.spec).unwrap();
    let big = record_sync::engine::record::Number::parse("12345678901234567890.10").unwrap();
    let mut batch = world.batch(vec![("k", None, Write::Create(vec!["k".into(), big.clone(), 5.into()]))]);
    batch.shape = Schema::new(["record_id", "score", "account.id"]);
    let outcomes = destination.write(&batch, &call()).await.unwrap();
    let Outcome::Delivered { stored: Some(stored), id, revision } = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    assert_eq!((stored.get("score"), stored.get("account.id")), (&big, &Value::Int(5)));
    assert_eq!((id.as_deref(), revision), (Some("1"), &stored.meta.revision));
    let body = String::from_utf8(world.ask("GET", "/api/v2/prospects/1", "", "").body).unwrap();
    assert!(body.contains("\"score\":12345678901234567890.10"), "{body}");
    assert!(body.contains(r#""account":{"data":{"type":"account","id":5}}"#), "{body}");
}

#[tokio::test]
async fn the_mock_speaks_as_the_service_does() {
    let world = strict_accounts().await;
    let post = |body: &str| world.ask("POST", "/api/v2/prospects", "", body);
    let made = post(
        r#"{"data":{"type":"prospect","attributes":{"firstName":"Ada","lastName":"L","emails":["Ada@x.test"]}}}"#,
    );
    assert_eq!(made.status, 201);
    let data = &json(&made)["data"];
    assert_eq!((&data["type"], &data["id"]), (&"prospect".into(), &1.into()), "ids are integers");
    assert_eq!(data["attributes"]["name"], "Ada L");
    assert!(data["attributes"]["title"].is_null() && data["relationships"]["account"]["data"].is_null());
    assert_eq!(data["links"]["self"], "http://mock.test/api/v2/prospects/1");
    for header in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "date", "content-type"]
    {
        assert!(made.headers.iter().any(|(name, _)| name == header), "{header}");
    }
    // (method, path, query, body, status, error id, why)
    let cases = [
        ("GET", "/api/v2/prospects/9", "", "", 404, "resourceNotFound", "no such record"),
        ("GET", "/api/v2/nonsense", "", "", 404, "routeNotFound", "no such resource"),
        ("PUT", "/api/v2/prospects/1", "", "", 404, "routeNotFound", "no such route"),
        ("GET", "/api/v2/prospects", "filter[externalId]=1", "", 400, "invalidParameter", "not filterable"),
        ("GET", "/api/v2/prospects", "page[size]=1001", "", 400, "invalidParameter", "too many"),
        ("POST", "/api/v2/accounts", "", r#"{"data":{"type":"account"}}"#, 422, "validationError", "a name"),
        (
            "POST",
            "/api/v2/prospects",
            "",
            r#"{"data":{"type":"account"}}"#,
            422,
            "validationError",
            "the type",
        ),
        (
            "POST",
            "/api/v2/prospects",
            "",
            r#"{"data":{"type":"prospect","attributes":{"emails":["ada@X.test"]}}}"#,
            422,
            "validationError",
            "the email is taken, case ignored",
        ),
        (
            "POST",
            "/api/v2/prospects",
            "",
            r#"{"data":{"type":"prospect","attributes":{"record_id":1}}}"#,
            422,
            "validationError",
            "unknown",
        ),
        (
            "PATCH",
            "/api/v2/prospects/1",
            "",
            r#"{"data":{"type":"prospect","id":1,"attributes":{"name":"x"}}}"#,
            422,
            "validationError",
            "read-only",
        ),
        (
            "PATCH",
            "/api/v2/prospects/1",
            "",
            r#"{"data":{"type":"prospect","id":2}}"#,
            422,
            "validationError",
            "another id than the URL's",
        ),
        ("POST", "/api/v2/prospects", "", "{", 400, "badRequest", "no JSON"),
    ];
    for (method, path, query, body, status, id, why) in cases {
        let reply = world.ask(method, path, query, body);
        assert_eq!((reply.status, &json(&reply)["errors"][0]["id"]), (status, &id.into()), "{why}");
    }
    let before = json(&world.ask("GET", "/api/v2/prospects/1", "", ""))["data"]["attributes"].clone();
    let touched = world.ask("PATCH", "/api/v2/prospects/1", "", r#"{"data":{"type":"prospect","id":"1"}}"#);
    let after = &json(&touched)["data"]["attributes"];
    assert_ne!(before["updatedAt"], after["updatedAt"], "even an empty PATCH moves the stamp");
    assert_eq!(before["emails"], after["emails"]);
    assert_eq!(world.ask("GET", "/api/v2/stages", "", "").status, 200, "a client's login probe");

    let mut request =
        Request { method: "POST".into(), path: "/api/v2/prospects".into(), ..Request::default() };
    assert_eq!(world.mock.handle(&request, Timestamp(0)).status, 401);
    request.path = "/oauth/token".into();
    for (form, status, error) in [
        ("grant_type=refresh_token&client_id=x", 401, "invalid_client"),
        (
            "grant_type=refresh_token&client_id=client-id&client_secret=client-secret&refresh_token=or-refresh-99999",
            400,
            "invalid_grant",
        ),
    ] {
        request.body = form.into();
        let reply = world.mock.handle(&request, Timestamp(0));
        assert_eq!((reply.status, &json(&reply)["error"]), (status, &error.into()));
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let world = loose().await;
    for number in 0..23_i64 {
        world.push(&[("record_id", number.into()), ("title", Value::text(format!("t{}", number % 3)))]);
    }
    // (query, expected ids, why)
    let all: Vec<i64> = (1..=23).collect();
    let by_title: Vec<i64> =
        (0..3).rev().flat_map(|rest| (1..=23).filter(move |id| (id - 1) % 3 == rest)).collect();
    let cases = [
        ("sort=updatedAt&page[size]=5", all.clone(), "by stamp"),
        ("page[size]=23", all.clone(), "just one page"),
        ("sort=-title,id&page[size]=4", by_title, "equal values may span pages"),
        ("filter[title]=t0&page[size]=3", (1..=23).step_by(3).collect(), "through an index"),
        ("page[limit]=10&sort=id", all.clone(), "the old style"),
        ("filter[id]=3..5&sort=-id&filter[id]=3..5", vec![5, 4, 3], "what is sent twice"),
    ];
    for (query, expected, why) in cases {
        let (mut query, mut ids) = (query.to_owned(), Vec::new());
        loop {
            let page = json(&world.ask("GET", "/api/v2/prospects", &query, ""));
            ids.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()));
            let Some(next) = page["links"]["next"].as_str() else { break };
            let (path, rest) = next.split_once('?').unwrap();
            assert_eq!(path, "http://mock.test/api/v2/prospects");
            query = rest.to_owned();
        }
        assert_eq!(ids, expected, "{why}");
    }
    let page = json(&world.ask("GET", "/api/v2/prospects", "count=true&page[size]=1", ""));
    assert_eq!(page["meta"]["count"], 23);
}

#[tokio::test]
async fn the_mock_keeps_its_data_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let settings = MockSettings { data: Some(folder.path().join("mock.sqlite")), ..MockSettings::default() };
    let names = ["record_id", "name", "email"];
    let before = world(settings.clone(), spec("prospects", "record_id"), names).await;
    assert_eq!(before.push(&[("record_id", 303.into()), ("name", "Mock303 User".into())]), "1");
    assert_eq!(
        before.push(&[("record_id", "303".into()), ("status", "active".into())]),
        "1",
        "one key, one record"
    );
    let after = world(settings, spec("prospects", "record_id"), names).await;
    assert_eq!(after.objects().len(), 1);
    assert_eq!(after.push(&[("record_id", 304.into())]), "2", "ids go on");
}
