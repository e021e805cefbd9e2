//! The mock, held to what the service does.

use super::*;

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
