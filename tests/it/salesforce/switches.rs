//! What the mock does where a test asks for it, and what a request can make depend on the state of things.

use record_sync::connectors::mock::{MockSettings, Reply};

use super::{World, json, strict_org, text, world};

fn refresh(org: &World, token: &str) -> Reply {
    let form = format!(
        "grant_type=refresh_token&client_id=client-id&client_secret=client-secret&refresh_token={token}"
    );
    org.ask("POST", "/services/oauth2/token", &[], &form)
}

fn get(org: &World, path: &str, headers: &[(&str, &str)]) -> Reply {
    let token = org.login();
    let headers: Vec<(&str, &str)> =
        headers.iter().copied().chain([("authorization", token.as_str())]).collect();
    org.ask("GET", &format!("/services/data/v61.0/{path}"), &headers, "")
}

#[tokio::test]
async fn sessions_end_when_a_test_wants_them_to() {
    let org = strict_org().await;
    let bearer = org.login();
    let ask = || org.ask("GET", "/services/data/v61.0/limits", &[("authorization", &bearer)], "").status;
    assert_eq!(ask(), 200);
    org.advance(60);
    org.set_faults(r#"{"token_seconds": 60}"#);
    assert_eq!(ask(), 401, "those that are out included");
    org.set_faults("{}");
    assert_eq!(ask(), 200, "two hours otherwise");
    org.advance(2 * 60 * 60);
    assert_eq!(ask(), 401);
}

#[tokio::test]
async fn refresh_tokens_are_good_once_or_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || MockSettings {
        strict: true,
        data: Some(folder.path().join("org.sqlite")),
        ..MockSettings::default()
    };
    let names = ["External_Id__c", "LastName", "Email"];
    let org = world(settings(), names).await;
    let first = json(&refresh(&org, "sf-refresh-1"));
    assert!(first.get("refresh_token").is_none(), "none is renewed");
    org.set_faults(r#"{"single_use_tokens": true}"#);
    let second = json(&refresh(&org, "sf-refresh-1"));
    assert_eq!(second["refresh_token"], "sf-refresh-2");
    let used = refresh(&org, "sf-refresh-1");
    assert_eq!(
        (used.status, &json(&used)["error_description"]),
        (400, &"expired access/refresh token".into())
    );
    drop(org);
    let org = world(settings(), names).await;
    org.set_faults(r#"{"single_use_tokens": true}"#);
    assert_eq!(refresh(&org, "sf-refresh-1").status, 400, "also after a restart");
    assert_eq!(json(&refresh(&org, "sf-refresh-2"))["refresh_token"], "sf-refresh-3");
}

#[tokio::test]
async fn a_day_has_so_many_calls() {
    let org = strict_org().await;
    org.set_faults(r#"{"daily_calls": 3}"#);
    for left in [2, 1, 0] {
        let told = get(&org, "limits", &[]);
        assert_eq!(json(&told)["DailyApiRequests"], serde_json::json!({ "Max": 3, "Remaining": left }));
    }
    let refused = get(&org, "limits", &[]);
    let told = json(&refused);
    assert_eq!((refused.status, &told[0]["errorCode"]), (403, &"REQUEST_LIMIT_EXCEEDED".into()));
    assert_eq!(told[0]["message"], "TotalRequests Limit exceeded.");
    assert!(refused.headers.contains(&("sforce-limit-info".into(), "api-usage=3/3".into())));
    org.advance(24 * 60 * 60);
    assert_eq!(get(&org, "limits", &[]).status, 200, "the day slides");
}

#[tokio::test]
async fn requests_depend_on_conditions() {
    let org = strict_org().await;
    let made = json(&org.api("POST", "sobjects/Account", r#"{"Name": "Acme"}"#));
    let path = format!("sobjects/Account/{}", made["id"].as_str().unwrap());
    let read = get(&org, &path, &[]);
    let tag = read.headers.iter().find(|(name, _)| name == "etag").unwrap().1.clone();
    let (before, at) = ("Sat, 31 Jan 2026 09:59:59 GMT", "Sat, 31 Jan 2026 10:00:00 GMT");
    // (method, header, value, status, why)
    let cases = [
        ("GET", "if-modified-since", at, 304, "not since"),
        ("GET", "if-modified-since", before, 200, "changed since"),
        ("GET", "if-modified-since", "yesterday", 200, "no moment"),
        ("GET", "if-unmodified-since", before, 412, "changed since"),
        ("GET", "if-none-match", &tag, 304, "the same"),
        ("PATCH", "if-unmodified-since", before, 412, "changed since"),
        ("PATCH", "if-match", "\"other\"", 412, "another"),
        ("PATCH", "if-match", &tag, 204, "the same"),
        ("PATCH", "if-match", &tag, 412, "no longer the same"),
        ("PATCH", "if-unmodified-since", at, 204, "within the second: can't be told"),
        ("DELETE", "if-unmodified-since", before, 204, "deletes know no conditions"),
    ];
    let token = org.login();
    for (method, name, value, status, why) in cases {
        let headers = [("authorization", token.as_str()), (name, value)];
        let body = if method == "PATCH" { format!(r#"{{"Name": "{why}"}}"#) } else { String::new() };
        let reply = org.ask(method, &format!("/services/data/v61.0/{path}"), &headers, &body);
        assert_eq!(reply.status, status, "{method} {name}: {why}: {}", text(&reply));
    }
    for path in ["sobjects", "sobjects/Contact/describe"] {
        assert_eq!(get(&org, path, &[("if-modified-since", at)]).status, 304, "{path}");
        assert_eq!(get(&org, path, &[("if-modified-since", before)]).status, 200, "{path}");
    }
    assert_eq!(get(&org, &format!("query?q={}", "x".repeat(17_000)), &[]).status, 414);
    assert_eq!(get(&org, "limits", &[("x-long", &"x".repeat(17_000))]).status, 431);
}

#[tokio::test]
async fn queries_count_values_and_tell_of_their_columns() {
    let org = strict_org().await;
    for name in [r#"{"LastName": "A", "Title": "x"}"#, r#"{"LastName": "B"}"#] {
        org.api("POST", "sobjects/Contact", name);
    }
    let counted = json(&org.api("GET", "query?q=SELECT+COUNT(Title)+FROM+Contact", ""));
    assert_eq!(
        counted["records"],
        serde_json::json!([{ "attributes": { "type": "AggregateResult" }, "expr0": 1 }])
    );
    let told = json(&org.api("GET", "query?q=SELECT+Id,Account.Name+FROM+Contact&columns=true", ""));
    let names: Vec<&str> = told["columnMetadata"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["columnName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Id", "Account.Name"]);
    assert_eq!((&told["entityName"], &told["idSelected"]), (&"Contact".into(), &true.into()));
}

#[tokio::test]
async fn duplicate_rules_alert_and_can_be_overruled() {
    let org = strict_org().await;
    let first =
        json(&org.api("POST", "sobjects/Contact", r#"{"LastName": "Ann", "Email": "a@example.test"}"#));
    org.set_faults(r#"{"duplicate_rules": true}"#);
    let second = r#"{"LastName": "Anna", "Email": "A@example.test"}"#;
    let refused = org.api("POST", "sobjects/Contact", second);
    let told = &json(&refused)[0];
    assert_eq!((refused.status, &told["errorCode"]), (400, &"DUPLICATES_DETECTED".into()));
    assert_eq!(told["message"], "Use one of these records?");
    let found = &told["duplicateResult"]["matchResults"][0]["matchRecords"][0]["record"]["Id"];
    assert_eq!(found, &first["id"]);
    let list = format!(r#"{{"records": [{{"attributes": {{"type": "Contact"}}, {}]}}"#, &second[1..]);
    let item = json(&org.api("POST", "composite/sobjects", &list));
    let error = &item[0]["errors"][0];
    assert_eq!(
        (&error["statusCode"], &error["duplicateResult"]["allowSave"]),
        (&"DUPLICATES_DETECTED".into(), &true.into())
    );
    let itself = format!("sobjects/Contact/{}", first["id"].as_str().unwrap());
    assert_eq!(org.api("PATCH", &itself, r#"{"Email": "a@example.test"}"#).status, 204, "the same record");
    let token = org.login();
    let headers = [("authorization", token.as_str()), ("sforce-duplicate-rule-header", "allowSave=true")];
    let saved = org.ask("POST", "/services/data/v61.0/sobjects/Contact", &headers, second);
    assert_eq!(saved.status, 201, "overruled");
}
