//! Secrets that are known by their looks, in every credential field of every connector, and a search of all that
//! leaves the process: logs, answers, metrics, the state, what the commands print.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use record_sync::connectors::mock::Request;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::description;
use super::host::{Host, Trick, http};
use super::refused::toml_of;
use crate::scenario::PATIENCE;
use crate::scenario::daemon::Daemon;
use crate::scenario::home::{Home, RULES, add_people};

const KEY: &str = include_str!("../../clients/salesforce-mock-key.pem");

/// How the hosts behave.
const FAIR: u8 = 0;
const REFUSING: u8 = 1;
const BROKEN: u8 = 2;

/// One system: its settings, with a canary for each secret, and what its mock takes in their place.
struct System {
    name: &'static str,
    connector: &'static str,
    stream: &'static str,
    settings: Value,
    secrets: Vec<(&'static str, &'static str)>,
}

fn system(
    name: &'static str,
    connector: &'static str,
    settings: Value,
    secrets: &[(&'static str, &'static str)],
) -> System {
    let stream = match connector {
        "salesforce" => "Contact",
        "outreach" => "prospects",
        "servicenow" => "incident",
        _ => "people",
    };
    System { name, connector, stream, settings, secrets: secrets.to_vec() }
}

/// Every login of every connector.
fn systems() -> Vec<System> {
    let (app, user) = ("client-id", "sync@example.test");
    let secret = ("client_secret", "client-secret");
    let rest = |auth: Value| json!({ "auth": auth });
    vec![
        system("sf-client", "salesforce", json!({"client_id": app}), &[secret]),
        system(
            "sf-password",
            "salesforce",
            json!({"client_id": app, "username": user}),
            &[secret, ("password", "pa55word"), ("security_token", "sectoken")],
        ),
        system(
            "sf-refresh",
            "salesforce",
            json!({"client_id": app}),
            &[secret, ("refresh_token", "sf-refresh-1")],
        ),
        system("sf-jwt", "salesforce", json!({"client_id": app, "username": user, "private_key": KEY}), &[]),
        system(
            "outreach",
            "outreach",
            json!({"client_id": app}),
            &[secret, ("refresh_token", "or-refresh-1")],
        ),
        system("snow-basic", "servicenow", json!({"username": user}), &[("password", "pa55word")]),
        system(
            "snow-password",
            "servicenow",
            json!({"username": user, "client_id": app}),
            &[secret, ("password", "pa55word")],
        ),
        system("snow-client", "servicenow", json!({"client_id": app}), &[secret]),
        system("snow-refresh", "servicenow", json!({"client_id": app}), &[secret, ("refresh_token", "")]),
        system(
            "rest-basic",
            "rest",
            rest(json!({"type": "basic", "username": user})),
            &[("password", "pa55word")],
        ),
        system("rest-bearer", "rest", rest(json!({"type": "bearer"})), &[("token", "t0ken")]),
        system(
            "rest-header",
            "rest",
            rest(json!({"type": "api_key", "header": "X-Key"})),
            &[("api_key", "t0ken")],
        ),
        system(
            "rest-query",
            "rest",
            rest(json!({"type": "api_key", "query": "key"})),
            &[("api_key", "t0ken")],
        ),
        system(
            "rest-oauth",
            "rest",
            rest(json!({"type": "oauth", "token_url": "/oauth/token", "client_id": app})),
            &[secret],
        ),
    ]
}

#[test]
fn no_credential_field_is_left_out() {
    let words = ["secret", "password", "token", "key"];
    for connector in record_sync::connectors::CONNECTORS.iter().filter(|connector| connector.remote) {
        let schema = (connector.settings_schema)().to_string();
        let mut tested: Vec<&str> = vec!["private_key", "token_url"];
        let systems = systems();
        let of = systems.iter().filter(|system| system.connector == connector.name);
        tested.extend(of.flat_map(|system| system.secrets.iter().map(|(field, _)| *field)));
        // Properties whose names sound like secrets.
        for name in schema.split('"').filter(|name| !name.contains(' ') && !name.contains('$')) {
            let sounds = words.iter().any(|word| name.split('_').any(|part| part == *word));
            let is_property = schema.contains(&format!("\"{name}\":{{"));
            let is_about_records = matches!(name, "key" | "idempotency_key");
            assert!(
                !sounds || !is_property || is_about_records || tested.contains(&name),
                "{}: {name}",
                connector.name
            );
        }
    }
}

/// Puts what the mock knows in place of the canaries, also where they are wrapped.
fn disguised(request: &Request, pairs: &[(String, String)]) -> Request {
    let swap =
        |text: &str| pairs.iter().fold(text.to_owned(), |text, (canary, real)| text.replace(canary, real));
    let mut request = request.clone();
    request.query = swap(&request.query);
    request.body = swap(&String::from_utf8_lossy(&request.body)).into_bytes();
    for (_, value) in &mut request.headers {
        let unwrapped = value.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok());
        *value = match unwrapped {
            Some(pair) => format!("Basic {}", STANDARD.encode(swap(&String::from_utf8_lossy(&pair)))),
            None => swap(value),
        };
    }
    request
}

/// What must not be found anywhere.
#[derive(Default)]
struct Needles(Vec<String>);

impl Needles {
    fn add(&mut self, secret: &str) {
        self.0.push(secret.to_owned());
        self.0.push(STANDARD.encode(secret).trim_end_matches('=').to_owned());
        self.0.push(STANDARD.encode(format!("sync@example.test:{secret}")).trim_end_matches('=').to_owned());
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        for needle in &self.0 {
            if let Some(at) = text.find(needle.as_str()) {
                let from = text[..at].char_indices().rev().nth(120).map_or(0, |(at, _)| at);
                panic!("{place} tells {needle}: {}", &text[from..at]);
            }
        }
    }
}

fn printed(output: &Output) -> Vec<u8> {
    [output.stdout.clone(), output.stderr.clone()].concat()
}

/// Everything that the state holds, but for the tokens that are kept there on purpose.
fn state(home: &Home) -> Vec<u8> {
    let db = Connection::open(home.path("data/state.sqlite")).unwrap();
    let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut out = Vec::new();
    for name in names {
        let but = if name == "kv" { " WHERE space != 'vault'" } else { "" };
        let mut select = db.prepare(&format!("SELECT * FROM {name}{but}")).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for at in 0..columns {
                match row.get_ref(at).unwrap() {
                    rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => {
                        out.extend_from_slice(bytes);
                        out.push(b'\n');
                    }
                    _ => {}
                }
            }
        }
    }
    out
}

struct Scene {
    home: Home,
    hosts: BTreeMap<&'static str, Host>,
    needles: Needles,
    mood: Arc<AtomicU8>,
}

/// Starts a host for every system, and writes the settings.
async fn scene() -> Scene {
    let mood = Arc::new(AtomicU8::new(FAIR));
    let mut needles = Needles::default();
    // What the services give out.
    for token in ["or-access-", "or-refresh-", "rest-access-", "!AQ"] {
        needles.0.push(token.to_owned());
    }
    let middle: String = KEY.lines().nth(9).unwrap().to_owned();
    needles.0.push(middle);
    let mut text = String::from(
        "[service]\nstate = \"sqlite:data/state.sqlite\"\n\n[default]\nmax_requests = 100000\nflush_interval = 0.05\n\
         retry = { base = 0.02, max = 0.1, attempts_max = 3 }\n\n[default.systems]\n\
         app = { connector = \"sqlite\", path = \"data/demo.sqlite\" }\n",
    );
    let mut links = String::new();
    let mut hosts = BTreeMap::new();
    for system in systems() {
        let System { name, connector, stream, mut settings, secrets } = system;
        let mut described = description(connector);
        let mut pairs = Vec::new();
        if connector == "rest" {
            described["auth"] = settings["auth"].clone();
        }
        for (field, real) in &secrets {
            let canary = format!("cAnArY-{name}-{field}");
            needles.add(&canary);
            pairs.push((canary.clone(), (*real).to_owned()));
            let place = if connector == "rest" { &mut settings["auth"] } else { &mut settings };
            place[*field] = canary.into();
            if connector == "rest" {
                described["auth"][*field] = (*real).into();
            }
        }
        let host = Host::start_as(connector, described.clone()).await;
        if name == "snow-refresh" {
            let form = "grant_type=password&username=sync@example.test&password=pa55word&client_id=client-id\
                        &client_secret=client-secret";
            let request = Request {
                method: "POST".into(),
                path: "/oauth_token.do".into(),
                body: form.into(),
                ..Request::default()
            };
            let told: Value = serde_json::from_slice(&host.ask(&request).body).unwrap();
            let real = told["refresh_token"].as_str().unwrap().to_owned();
            needles.add(&real);
            pairs
                .iter_mut()
                .filter(|(_, known)| known.is_empty())
                .for_each(|(_, known)| known.clone_from(&real));
        }
        if connector == "rest" {
            let auth = settings["auth"].clone();
            settings = described;
            settings["auth"] = auth;
        }
        settings["base_url"] = host.url.clone().into();
        settings["connector"] = connector.into();
        let mood = Arc::clone(&mood);
        host.disguise(move |request| match mood.load(Ordering::SeqCst) {
            // Nobody knows the canaries any more, and no token.
            REFUSING => Request { headers: without_login(&request.headers), ..request.clone() },
            _ => disguised(request, &pairs),
        });
        text.push_str(&format!("{name} = {}\n", toml_of(&settings)));
        links.push_str(&format!(
            "\n[default.links.{name}]\na = {{ system = \"app\", stream = \"users\", key = \"record_id\" }}\n\
             b = {{ system = \"{name}\", stream = \"{stream}\", key = \"record_id\" }}\npoll_interval = 0.3\n",
        ));
        hosts.insert(name, host);
    }
    text.push_str(&links);
    let home = Home::new(&text, RULES);
    Scene { home, hosts, needles, mood }
}

fn without_login(headers: &[(String, String)]) -> Vec<(String, String)> {
    headers.iter().filter(|(name, _)| name != "authorization").cloned().collect()
}

/// Asks for all that the API tells.
async fn told(daemon: &Daemon, scene: &Scene, when: &str) {
    let mut paths: Vec<String> = [
        "/v1/sync/status",
        "/v1/links",
        "/v1/jobs",
        "/v1/dead-letters",
        "/v1/conflicts",
        "/v1/crms/available",
        "/v1/sync/status/1",
        "/v1/sync/rules",
        "/v1/sync/config-override",
        "/metrics",
        "/readyz",
        "/healthz",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(scene.hosts.keys().map(|name| format!("/v1/explain/{name}/1")));
    paths
        .extend(["salesforce", "outreach", "servicenow", "rest"].map(|crm| format!("/v1/crms/{crm}/schema")));
    for path in paths {
        let answer = daemon.get(&path).await;
        scene.needles.are_not_in(&format!("{when}: {path}"), answer.body.to_string().as_bytes());
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "{what} never came");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_in_anything_that_leaves_the_process() {
    let scene = scene().await;
    let Scene { home, hosts, needles, mood } = &scene;
    add_people(&mut home.app(), 1..=2);
    let stderr = std::fs::File::create(home.path("stderr.txt")).unwrap();
    let daemon = Daemon::start_saying(home, stderr);
    let standing =
        |count: usize| systems().iter().all(|system| hosts[system.name].standing(system.stream) >= count);
    until("what is written by every login", || standing(2)).await;
    told(&daemon, &scene, "in peace").await;

    mood.store(REFUSING, Ordering::SeqCst);
    for host in hosts.values() {
        host.forget();
    }
    add_people(&mut home.app(), 3..=4);
    until("a request to each", || hosts.values().all(|host| host.seen().len() > 1)).await;
    tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    told(&daemon, &scene, "refused").await;
    needles.are_not_in("check, refused", &printed(&home.run(&["check"])));

    mood.store(BROKEN, Ordering::SeqCst);
    for host in hosts.values() {
        let turns = AtomicU8::new(0);
        host.plan(move |_| {
            Some(Trick::Raw(match turns.fetch_add(1, Ordering::SeqCst) % 4 {
                0 => http(500, &[], b"oops"),
                1 => http(200, &[], b"{"),
                2 => b"no HTTP at all\r\n\r\n".to_vec(),
                _ => http(302, &[("location", "http://127.0.0.1:9/elsewhere")], b""),
            }))
        });
    }
    until("a fault for each", || hosts.values().all(|host| host.seen().len() > 1)).await;
    tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    told(&daemon, &scene, "broken").await;
    needles.are_not_in("check, broken", &printed(&home.run(&["check", "--json"])));
    daemon.terminate();

    needles.are_not_in("standard error", &std::fs::read(home.path("stderr.txt")).unwrap());
    let mut logs = 0;
    for place in std::fs::read_dir(home.path("logs")).unwrap() {
        let text = std::fs::read(place.unwrap().path()).unwrap();
        logs += text.len();
        needles.are_not_in("the log", &text);
    }
    assert!(logs > 10_000, "there was much to tell: {logs} bytes");
    let state = state(home);
    assert!(state.len() > 1_000);
    needles.are_not_in("the state", &state);
}
