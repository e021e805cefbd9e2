//! Descriptions that can't work, each refused with its place and a remedy.

use serde_json::{Value, json};

use super::Settings;

/// A description that is fine.
fn fine() -> Value {
    json!({
        "base_url": "https://api.test/v1",
        "auth": {"type": "bearer", "token": "canary"},
        "streams": {"orders": {
            "stamp": "/updated_at", "deleted": "/deleted",
            "list": {"path": "/orders", "records": "/data", "page": {"style": "cursor", "param": "after", "next": "/next"}},
            "changes": {"query": {"since": "{stamp}"}},
            "get": {"path": "/orders/{id}"},
            "find": {"path": "/orders", "query": {"number": "{key}"}, "records": "/data"},
            "create": {"path": "/orders", "reply": ""},
            "update": {"path": "/orders/{id}"},
            "delete": {"path": "/orders/{id}"},
        }},
    })
}

/// Puts a value at a place, or takes it out where there is none.
fn with(place: &str, value: Value) -> Value {
    let mut table = fine();
    let mut here = &mut table;
    let steps: Vec<&str> = place.split('.').collect();
    let (last, way) = steps.split_last().expect("a place");
    for step in way {
        here = &mut here[*step];
    }
    match value {
        Value::Null => drop(here.as_object_mut().expect("a table").remove(*last)),
        value => here[*last] = value,
    }
    table
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_a_remedy() {
    assert!(Settings::parse(&fine()).is_ok(), "{:?}", Settings::parse(&fine()).err());
    let stream = |place: &str| format!("streams.orders.{place}");
    let batch = |more: Value| {
        let mut write = json!({"path": "/orders/batch", "wrap": "/items"});
        write["batch"] = more;
        write
    };
    // (place, value, place of the complaint, why)
    let cases: Vec<(String, Value, String, &str)> = vec![
        ("base_url".into(), Value::Null, String::new(), "no address"),
        ("base_url".into(), json!("api.test"), "base_url".into(), "no scheme"),
        ("base_url".into(), json!("https://u:p@api.test"), "base_url".into(), "credentials in it"),
        ("base_urls".into(), json!("x"), "base_urls".into(), "an unknown key"),
        ("timeout_ms".into(), json!(1), "timeout_ms".into(), "no time at all"),
        ("in_flight".into(), json!(0), "in_flight".into(), "nothing under way"),
        ("streams".into(), json!({}), "streams".into(), "no stream"),
        ("headers".into(), json!({"a b": "c"}), "headers.a b".into(), "no header"),
        ("errors".into(), json!(["message"]), "errors".into(), "no pointer"),
        ("rate".into(), json!({"requests": 5}), "rate".into(), "in what time?"),
        ("auth.type".into(), json!("digest"), "auth.type".into(), "an unknown login"),
        ("auth.token".into(), Value::Null, "auth".into(), "no token"),
        ("auth".into(), json!({"type": "basic", "username": "u"}), "auth".into(), "no password"),
        ("auth".into(), json!({"token": "x"}), "auth.token".into(), "a token, and no login"),
        ("auth".into(), json!({"type": "api_key", "api_key": "k"}), "auth".into(), "a key that goes nowhere"),
        (
            "auth".into(),
            json!({"type": "oauth", "client_id": "i", "client_secret": "s"}),
            "auth".into(),
            "no place for tokens",
        ),
        (stream("id"), json!(""), stream("id"), "a record is no id"),
        (stream("id"), json!("id"), stream("id"), "no pointer"),
        (stream("stamp_format"), json!("iso"), stream("stamp_format"), "no format"),
        (stream("stamp"), Value::Null, stream("changes"), "changes without stamps"),
        (stream("list.path"), Value::Null, stream("list"), "no path"),
        (stream("list.path"), json!("orders"), stream("list.path"), "no slash"),
        (stream("list.path"), json!("/orders?a=b"), stream("list.path"), "parameters in the path"),
        (stream("list.path"), json!("/orders/{id}"), stream("list.path"), "whose id?"),
        (stream("list.path"), json!("/orders/{name}"), stream("list.path"), "an unknown place"),
        (stream("list.method"), json!("PUT"), stream("list.method"), "a method that writes"),
        (stream("list.body"), json!({"a": 1}), stream("list.body"), "a body with a GET"),
        (
            stream("list.page"),
            json!({"style": "cursor", "param": "a"}),
            stream("list.page"),
            "no next cursor",
        ),
        (stream("list.page"), json!({"style": "offset"}), stream("list.page"), "no parameter"),
        (
            stream("list.page"),
            json!({"style": "link", "param": "a"}),
            stream("list.page.param"),
            "a link has no parameter",
        ),
        (stream("list.page"), json!({"style": "pages"}), stream("list.page.style"), "an unknown style"),
        (stream("list.page"), json!({"size": 0}), stream("list.page.size"), "empty pages"),
        (stream("changes.query"), json!({"since": "now"}), stream("changes"), "since when?"),
        (
            stream("changes.records_max"),
            json!(100),
            stream("changes.records_max"),
            "in parts without an order",
        ),
        (stream("deletions"), json!("scanned"), stream("deletions"), "scanned, and changes"),
        (stream("changes"), Value::Null, String::new(), "fine: scanned"),
        (stream("get.path"), json!("/orders"), stream("get"), "whose?"),
        (stream("find.query"), json!({"number": "1"}), stream("find"), "what for?"),
        (stream("find.scan"), json!(true), stream("find"), "a scan that asks"),
        (stream("find"), Value::Null, stream("create"), "a create that would be repeated blindly"),
        (
            stream("create.idempotency_value"),
            json!("{hash}"),
            stream("create.idempotency_value"),
            "in no header",
        ),
        (stream("create.method"), json!("GET"), stream("create.method"), "a GET writes nothing"),
        (stream("create.path"), json!("/orders/{id}"), stream("create.path"), "there is no id yet"),
        (stream("update.path"), json!("/orders"), stream("update.path"), "which one?"),
        (stream("update.may_duplicate"), json!(true), stream("update"), "an update makes nothing"),
        (stream("update"), batch(json!({"max": 1})), stream("update.batch.max"), "a batch of one"),
        (stream("update"), batch(json!({"by": "number"})), stream("update.batch"), "no number is sent"),
        (
            stream("update"),
            batch(json!({"by": "id", "errors": "/errors"})),
            stream("update.batch"),
            "errors of nobody",
        ),
        (stream("update"), batch(json!({"by": "id"})), stream("update.batch"), "nothing to be matched"),
    ];
    for (place, value, complaint, why) in cases {
        let table = with(&place, value);
        match Settings::parse(&table) {
            Ok(_) => assert!(why.starts_with("fine"), "{why}: {place} is refused"),
            Err(error) => {
                assert_eq!(error.path.join("."), complaint, "{why}: {}", error.message);
                assert!(!error.message.contains("canary"), "{why}");
            }
        }
    }
}

#[test]
fn a_mock_needs_no_credentials_and_secrets_do_not_show() {
    let mut table = fine();
    table["base_url"] = "mock".into();
    table["auth"] = json!({"type": "oauth", "token_url": "https://login.test/token"});
    assert!(Settings::parse(&table).is_ok());
    let settings = Settings::parse(&fine()).expect("settings");
    assert!(!format!("{settings:?}").contains("canary"));
}
