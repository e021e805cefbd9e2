//! `customer_settings.toml`: what is read, what is refused and in which words.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use record_sync::config::{self, Catalogue, Config, ConnectorFacts, Place, Problems, SettingsProblem};
use record_sync::engine::fault::FaultCode;
use record_sync::engine::rules::ConflictPolicy;
use serde_json::json;

fn catalogue() -> Catalogue {
    let facts = |name, properties: serde_json::Value, stream_options| ConnectorFacts {
        name,
        settings_schema: json!({"type": "object", "properties": properties}),
        stream_options,
        check_settings: Arc::new(|settings| match settings.get("path") {
            Some(path) if !path.is_string() => Err(SettingsProblem {
                path: vec!["path".to_owned()],
                message: "`path` is no text; write the path of a file".to_owned(),
            }),
            _ => Ok(()),
        }),
    };
    Catalogue {
        connectors: vec![
            facts("sqlite", json!({"path": {}}), &["updated_at", "capture"]),
            facts("file", json!({"path": {}, "format": {}}), &[]),
            facts("salesforce", json!({"base_url": {}, "client_id": {}, "client_secret": {}}), &[]),
        ],
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "SF_SECRET" => Some("hunter2\"\n[evil]".to_owned()),
        "REQUESTS" => Some("7".to_owned()),
        _ => None,
    }
}

fn load(text: &str) -> Result<Config, Problems> {
    config::load(text, Path::new("conf/customer_settings.toml"), &env, &catalogue())
}

const SAMPLE: &str = r#"
[service]
listen = "127.0.0.1:8000"
state  = "sqlite:data/state.sqlite"
rules  = "rules.json"
log_dir = "logs"

[default]
max_requests   = 60
window_size    = 60
batch_size     = 100
flush_interval = 2.0
autostart      = false

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.salesforce]
connector = "salesforce"
base_url = "mock"
client_secret = "${SF_SECRET}"
max_requests = "${REQUESTS}"
retry = { base = 0.5, attempts_max = 3 }

[default.links.sqlite-to-salesforce]
a = { system = "app", stream = "users", key = "record_id", capture = "scan" }
b = { system = "salesforce", stream = "Contact", key = ["record_id"] }
direction = "both"
poll_interval = 5.0
first_contact = "newest"

[customer1]
max_requests = 10
window_size = 100

[surya]
autostart = true
rules = "rules/{customer}.json"
systems.app = { path = "data/surya.sqlite" }
systems.salesforce.max_requests = 3
links.sqlite-to-salesforce.direction = "a_to_b"
"#;

#[test]
fn the_sample_is_read() {
    let config = load(SAMPLE).unwrap();
    assert_eq!(config.service.listen.port(), 8000);
    assert_eq!(config.service.rules, PathBuf::from("conf/rules.json"));
    assert_eq!(config.service.state_path(), PathBuf::from("conf/data/state.sqlite"));
    assert_eq!(config.service.mock_data, Some(PathBuf::from("conf/data/mock")));
    assert_eq!(config.base_dir, PathBuf::from("conf"));

    assert!(config.default.autostart, "`default` itself starts at once");
    let app = &config.default.systems["app"];
    assert_eq!((app.connector.as_str(), &app.settings), ("sqlite", &json!({"path": "data/demo.sqlite"})));
    assert_eq!((app.limits.max_requests, app.limits.window_size), (60, Duration::from_secs(60)));
    let salesforce = &config.default.systems["salesforce"];
    assert_eq!(salesforce.limits.max_requests, 7, "a number from the environment");
    assert_eq!(salesforce.retry.usual.base, Duration::from_millis(500));
    assert_eq!(salesforce.retry.usual.attempts_max, 3);
    assert_eq!(salesforce.settings["client_secret"], "hunter2\"\n[evil]", "a value brings no TOML in");

    let link = &config.default.links["sqlite-to-salesforce"];
    assert_eq!((link.a_to_b, link.b_to_a), (true, true));
    assert_eq!(link.first_contact, ConflictPolicy::Newest);
    assert_eq!(link.audit_interval, Duration::from_secs(86_400), "a day, where nothing is said");
    assert_eq!(link.a.key, ["record_id"]);
    assert_eq!(link.b.key, ["record_id"]);
    assert_eq!(link.a.options.get("capture"), Some(&json!("scan")));
    assert_eq!(config.default.batching(link, "salesforce"), (100, Duration::from_secs(2)));
}

#[test]
fn patience_is_told_by_fault_and_laid_over() {
    let text = r#"
[default]
retry = { max = 60, attempts_max = 5, unavailable = { base = 4, attempts_max = 50 } }
[default.systems.app]
connector = "sqlite"
path = "a.sqlite"
retry = { base = 2, timeout = { attempts_max = 1 } }
"#;
    let config = load(text).unwrap();
    let retry = &config.default.systems["app"].retry;
    let told = |code| {
        let patience = retry.after(code);
        (patience.base.as_secs(), patience.max.as_secs(), patience.attempts_max)
    };
    // (fault, base, max and attempts, why)
    let cases = [
        (FaultCode::Connect, (2, 60, 5), "as usual: the system's base, the customer's rest"),
        (FaultCode::Timeout, (2, 60, 1), "the system's own, over the usual"),
        (FaultCode::Unavailable, (4, 60, 50), "the customer's own"),
    ];
    for (code, wanted, why) in cases {
        assert_eq!(told(code), wanted, "{code:?}: {why}");
    }
}

#[test]
fn customers_are_laid_over_the_default() {
    let config = load(SAMPLE).unwrap();
    let customer1 = config.customer("customer1").unwrap();
    assert_eq!(customer1.systems["app"].limits.max_requests, 10);
    assert_eq!(customer1.systems["app"].limits.window_size, Duration::from_secs(100));
    assert_eq!(customer1.systems["salesforce"].limits.max_requests, 7, "the nearer table wins");
    assert!(!customer1.autostart);
    assert_eq!(customer1.rules, None);

    let surya = config.customer("surya").unwrap();
    assert_eq!(surya.systems["app"].settings["path"], "data/surya.sqlite");
    assert_eq!(surya.systems["salesforce"].limits.max_requests, 3);
    assert_eq!(surya.rules, Some(PathBuf::from("conf/rules/surya.json")));
    assert!(!surya.links["sqlite-to-salesforce"].b_to_a);

    let unlisted = config.customer("somebody").unwrap();
    assert_eq!(unlisted.id, "somebody");
    assert_eq!(unlisted.systems, config.default.systems);
    assert!(!unlisted.autostart);

    let autostarted: Vec<&str> = config.autostarted().map(|customer| customer.id.as_str()).collect();
    assert_eq!(autostarted, ["default", "surya"]);

    for id in ["", "a b", "a/b", "ä", "..", "service", &"x".repeat(65)] {
        assert!(config.customer(id).is_err(), "`{id}` is no customer's id");
    }
}

#[test]
fn second_limits_are_laid_over_and_taken_away() {
    let text = format!(
        "[default]\nmax_per_day = 5000\nconcurrency = 4\nreserve = 0.3\nbreaker = {{ slow_after = 2.5 }}\n\
         {SYSTEM}max_per_day = 0\nbreaker = {{ slow_rate = 0.5 }}\n[default.systems.other]\nconnector = \"sqlite\"\n\
         path = \"o.sqlite\"\n",
        SYSTEM = "[default.systems.app]\nconnector = \"sqlite\"\npath = \"a.sqlite\"\n"
    );
    let systems = load(&text).unwrap().default.systems;
    let (app, other) = (&systems["app"], &systems["other"]);
    assert_eq!((other.limits.max_per_day, other.limits.concurrency), (Some(5_000), Some(4)));
    assert_eq!(
        (app.limits.max_per_day, app.limits.reserve),
        (None, Some(0.3)),
        "0 takes the day's limit away"
    );
    assert_eq!((app.breaker.slow_after, app.breaker.slow_rate), (Duration::from_millis(2_500), 0.5));
    assert_eq!(other.breaker.slow_rate, 0.8);
}

#[test]
fn an_empty_file_gets_defaults() {
    let config = load("").unwrap();
    assert_eq!(config.service.listen.to_string(), "127.0.0.1:8000");
    assert!(config.default.links.is_empty());
}

#[test]
fn the_environment_beats_the_file() {
    let env = |name: &str| match name {
        "RECORD_SYNC_LISTEN" => Some("0.0.0.0:9000".to_owned()),
        "RECORD_SYNC_RULES" => Some("other.json".to_owned()),
        _ => None,
    };
    let text = "[service]\nlisten = \"127.0.0.1:1\"\nrules = \"rules.json\"";
    let config = config::load(text, Path::new("customer_settings.toml"), &env, &catalogue()).unwrap();
    assert_eq!(config.service.listen.to_string(), "0.0.0.0:9000");
    assert_eq!(config.service.rules, PathBuf::from("./other.json"));
}

#[test]
fn a_wrong_variable_is_named() {
    let env = |name: &str| (name == "RECORD_SYNC_LISTEN").then(|| "nowhere".to_owned());
    let problems = config::load("", Path::new("c.toml"), &env, &catalogue()).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "RECORD_SYNC_LISTEN: `nowhere` is no address to listen on; \
         write an IP address and a port, such as \"127.0.0.1:8000\""
    );
}

/// A configuration with two systems, for the cases below.
fn with(more: &str) -> String {
    format!(
        "[default.systems]\napp = {{ connector = \"sqlite\", path = \"x\" }}\n\
         crm = {{ connector = \"salesforce\", base_url = \"mock\" }}\n{more}"
    )
}

#[test]
fn wrong_files_are_refused_with_place_and_remedy() {
    let link = |a: &str, b: &str| with(&format!("[default.links.l]\na = {a}\nb = {b}"));
    let a = "{ system = \"app\", stream = \"users\", key = \"id\" }";
    let b = "{ system = \"crm\", stream = \"Contact\", key = \"id\" }";
    let cases: Vec<(&str, String, &str)> = vec![
        ("no TOML", "[default\n".into(), "1:9: this is not TOML"),
        (
            "a number too large",
            "[default]\nmax_requests = 99999999999999999999".into(),
            "2:16: this whole number is too large",
        ),
        (
            "outside of tables",
            "max_requests = 1".into(),
            "1:1: `max_requests` stands outside of every table; move it",
        ),
        (
            "unknown key",
            "[default]\nmax_request = 1".into(),
            "2:1: unknown key `max_request` in a customer's settings; did you mean `max_requests`?",
        ),
        (
            "unknown in service",
            "[service]\nlistne = \"x\"".into(),
            "2:1: unknown key `listne` in [service]; did you mean `listen`?",
        ),
        (
            "service's key elsewhere",
            "[c]\nlog_dir = \"x\"".into(),
            "2:1: unknown key `log_dir` in a customer's settings; it belongs to [service]",
        ),
        (
            "zero",
            "[default]\nmax_requests = 0".into(),
            "2:16: `max_requests` can't be 0; write a whole number from 1",
        ),
        ("negative", "[default]\nwindow_size = -1".into(), "2:15: `window_size` can't be -1; write seconds"),
        (
            "not finite",
            "[default]\nwindow_size = inf".into(),
            "2:15: `window_size` can't be inf; write seconds",
        ),
        (
            "wrong type",
            "[default]\nmax_requests = \"10\"".into(),
            "2:16: `max_requests` is text; write a whole number, without quotes",
        ),
        (
            "wrong type of seconds",
            "[default]\nflush_interval = true".into(),
            "2:18: `flush_interval` is true or false; write seconds",
        ),
        (
            "wrong type of flag",
            "[default]\nautostart = \"yes\"".into(),
            "2:13: `autostart` is text; write true or false, without quotes",
        ),
        (
            "bad customer",
            "[\"a b\"]\nmax_requests = 1".into(),
            "1:2: `a b` can't be a customer's id; use letters, digits, _ and -, at most 64",
        ),
        (
            "bad address",
            "[service]\nlisten = \"8000\"".into(),
            "2:10: `8000` is no address to listen on; write",
        ),
        ("bad state", "[service]\nstate = \"postgres:x\"".into(), "2:9: the state can't be kept in"),
        (
            "missing variable",
            "[service]\nrules = \"${NOPE}\"".into(),
            "2:9: the environment has no variable NOPE; start record-sync with NOPE set",
        ),
        (
            "no connector",
            "[default.systems.x]\npath = \"y\"".into(),
            "1:1: system `x` has no `connector`; add connector",
        ),
        (
            "unknown connector",
            "[default.systems.x]\nconnector = \"sqlit\"".into(),
            "2:13: unknown connector \"sqlit\"; did you mean \"sqlite\"?",
        ),
        (
            "unknown setting",
            "[default.systems.x]\nconnector = \"sqlite\"\npaht = \"y\"".into(),
            "3:1: unknown key `paht` in system `x` (connector \"sqlite\"); did you mean `path`?",
        ),
        (
            "connector's own check",
            "[default.systems.x]\nconnector = \"sqlite\"\npath = 1".into(),
            "3:8: system `x`: `path` is no text; write the path of a file",
        ),
        (
            "breaker",
            "[default]\nbreaker = { failure = 1 }".into(),
            "2:13: unknown key `failure` in `breaker`; did you mean `failures`?",
        ),
        (
            "breaker, a rate",
            "[default]\nbreaker = { slow_rate = 80 }".into(),
            "2:25: `slow_rate` can't be 80; write a part of 1, from 0.01 to 1",
        ),
        (
            "breaker, too few calls",
            "[default]\nbreaker = { calls = 5 }".into(),
            "2:11: `calls` is less than `calls_min`; make it at least as many",
        ),
        (
            "a reserve of all",
            "[default]\nreserve = 1.0".into(),
            "2:11: `reserve` can't be 1; write a part of 1, from 0 to 0.9",
        ),
        (
            "a day in words",
            "[default]\nmax_per_day = \"many\"".into(),
            "2:15: `max_per_day` is text; write a whole number, without quotes",
        ),
        (
            "retry",
            "[default]\nretry = { base = 5.0, max = 1 }".into(),
            "2:9: `max` is shorter than `base`; make it at least as long",
        ),
        (
            "retry after a fault",
            "[default]\nretry = { timeout = { base = 5.0, max = 1 } }".into(),
            "2:21: `max` is shorter than `base`; make it at least as long",
        ),
        (
            "retry after a fault that is none",
            "[default]\nretry = { unavailabel = { base = 5.0 } }".into(),
            "2:11: unknown key `unavailabel` in `retry`; did you mean `unavailable`?",
        ),
        (
            "no end",
            with("[default.links.l]\na = { system = \"app\", stream = \"u\", key = \"id\" }"),
            "4:1: link `l` has no end `b`; add b = {",
        ),
        (
            "no stream",
            link("{ system = \"app\", key = \"id\" }", b),
            "5:5: end `a` of link `l` has no `stream`; write a = {",
        ),
        (
            "missing system",
            link("{ system = \"ap\", stream = \"users\", key = \"id\" }", b),
            "5:16: link `l`: there is no system `ap`; did you mean \"app\"?",
        ),
        (
            "unknown option",
            link("{ system = \"app\", stream = \"users\", key = \"id\", captuer = \"scan\" }", b),
            "5:53: unknown key `captuer` in end `a` of link `l`; did you mean `capture`?",
        ),
        ("itself", link(a, a), "4:16: link `l` ties stream `users` to itself; name two streams"),
        (
            "keys differ",
            link("{ system = \"app\", stream = \"users\", key = [\"x\", \"y\"] }", b),
            "4:16: link `l` has a key of 2 at a and of 1 at b; name as many",
        ),
        (
            "key of the wrong type",
            link("{ system = \"app\", stream = \"users\", key = 1 }", b),
            "5:47: `key` is a whole number; write text in quotes, or a list of texts",
        ),
        (
            "direction",
            with("[default.links.l]\ndirection = \"forward\""),
            "5:13: `direction` can't be \"forward\"; write \"both\", \"a_to_b\", \"b_to_a\"",
        ),
        (
            "an interval with a unit",
            with("[default.links.l]\naudit_interval = \"1h\""),
            "5:18: `audit_interval` is text; write seconds",
        ),
        ("less than never", with("[default.links.l]\naudit_interval = -1"), "5:18: `audit_interval`"),
        (
            "first contact",
            with("[default.links.l]\nfirst_contact = \"max\""),
            "5:17: `first_contact` can't be \"max\"; write",
        ),
        ("in a customer", with("[c.links.x]\na = 1"), "5:5: `a` is a whole number; write a table, { … }"),
    ];
    for (why, text, expected) in cases {
        let problems = load(&text).expect_err(why).to_string();
        let expected = format!("conf/customer_settings.toml:{expected}");
        assert!(problems.contains(&expected), "{why}: wanted {expected:?} in\n{problems}");
    }
}

#[test]
fn all_problems_are_told_once_and_in_order() {
    let text =
        with("[default]\n[default.links.l]\nnope = 1\n[one]\nmax_requests = 0\n[two]\nbatch_size = 0\n");
    let text = text.replace("[default]\n", "");
    let problems = load(&text).unwrap_err();
    let places: Vec<usize> = problems
        .list
        .iter()
        .map(|problem| match problem.place {
            Place::Span { start, .. } => start,
            _ => 0,
        })
        .collect();
    assert!(places.is_sorted(), "{problems}");
    assert_eq!(problems.lines().filter(|line| line.contains("`nope`")).count(), 1, "{problems}");
    assert!(problems.to_string().contains("`batch_size` can't be 0"), "{problems}");
}

#[test]
fn another_connector_drops_the_old_settings() {
    let text = with("[c.systems.crm]\nconnector = \"sqlite\"\npath = \"y\"\n");
    let config = load(&text).unwrap();
    assert_eq!(config.customers["c"].systems["crm"].settings, json!({"path": "y"}));
}

#[test]
fn a_link_can_be_switched_off_for_a_customer() {
    let text = format!("{SAMPLE}\n[quiet.links.sqlite-to-salesforce]\nenabled = false\n");
    let config = load(&text).unwrap();
    assert!(config.customers["quiet"].links.is_empty());
    assert_eq!(config.default.links.len(), 1);
}

#[test]
fn secrets_are_never_printed() {
    let config = load(SAMPLE).unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains("hunter2"), "{shown}");

    let text = "[default.systems.x]\nconnector = \"salesforce\"\nclient_secret = 12345\n\
                y = { password = \"hunter2\", a = 1 }\n";
    let problems = load(text).unwrap_err();
    let shown = format!("{problems} {problems:?} {}", problems.pretty());
    assert!(!shown.contains("hunter2") && !shown.contains("12345"), "{shown}");
}

#[test]
fn the_pretty_form_shows_the_line() {
    let problems = load("[default]\nmax_request = 1").unwrap_err();
    let pretty = problems.pretty();
    assert!(pretty.contains("max_request = 1"), "{pretty}");
    assert!(pretty.contains("did you mean `max_requests`?"), "{pretty}");
}

#[test]
fn every_configuration_that_is_shipped_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("customer_settings.toml")];
    let examples = std::fs::read_dir(root.join("examples")).unwrap();
    let folders = examples.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    files.extend(folders.map(|folder| folder.join("customer_settings.toml")));
    for file in files {
        let config = config::load_file(&file, &|_| None, &record_sync::cli::catalogue());
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        assert!(!config.default.links.is_empty(), "{}", file.display());
        assert!(config.service.rules.is_file(), "{} has no rules", file.display());
    }
}

proptest::proptest! {
    /// Whatever a hand or a half-finished save does to the file: it is read or refused, never more.
    #[test]
    fn broken_files_are_refused_in_peace(from in 0_usize..1_200, length in 0_usize..40, put in "[a-z\\[\\]{}=\"'\\n#.0-9é$]{0,6}") {
        let mut text = SAMPLE.to_owned();
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        text.replace_range(from..to, &put);
        if let Err(problems) = load(&text) {
            proptest::prop_assert!(!problems.list.is_empty());
            proptest::prop_assert!(problems.lines().all(|line| line.contains("; ")), "{}", problems);
            let _ = problems.pretty();
        }
    }
}
