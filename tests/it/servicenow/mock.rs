//! The mock, held to what the service does.

use super::*;

const INCIDENT: &str = "/api/now/table/incident";

fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    reply.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn the_mock_speaks_as_the_service_does() {
    let world = strict().await;
    let body = r#"{"short_description":"Printer down","correlation_id":"ext-17","priority":1,"active":true}"#;
    let made = world.ask("POST", INCIDENT, "", body);
    assert_eq!(made.status, 201);
    let row = json(&made)["result"].clone();
    let id = row["sys_id"].as_str().unwrap().to_owned();
    assert_eq!(header(&made, "location"), Some(format!("http://mock.test{INCIDENT}/{id}").as_str()));
    for (field, value) in [
        ("sys_mod_count", "0"),
        ("priority", "1"),
        ("active", "true"),
        ("number", "INC0010001"),
        ("state", "1"),
        ("description", ""),
    ] {
        assert_eq!(row[field], value, "{field}: all values are text, empty ones too");
    }
    let one = format!("{INCIDENT}/{id}");
    let patched = world.ask("PATCH", &one, "sysparm_fields=sys_id,sys_mod_count", r#"{"priority":"2"}"#);
    assert_eq!(
        (patched.status, json(&patched)["result"].clone()),
        (200, serde_json::json!({"sys_id": id, "sys_mod_count": "1"}))
    );
    let same = json(&world.ask("PUT", &one, "", r#"{"priority":"2"}"#));
    assert_eq!(same["result"]["sys_mod_count"], "1", "nothing changed, nothing counted");
    let unknown = format!("{INCIDENT}/{}", "0".repeat(32));
    // (method, path, query, body, status, message, why)
    let cases = [
        ("GET", "/api/now/table/nonsense", "", "", 400, "Invalid table nonsense", "no such table"),
        ("GET", &unknown, "", "", 404, "No Record found", "no such record"),
        (
            "GET",
            "/api/now/tables/incident",
            "",
            "",
            400,
            "Requested URI does not represent any resource",
            "no such route",
        ),
        ("POST", INCIDENT, "", "{", 400, "Exception while reading request", "no JSON"),
        (
            "POST",
            INCIDENT,
            "",
            r#"{"shrt_description":"x"}"#,
            400,
            "Invalid field shrt_description",
            "strict",
        ),
        ("GET", INCIDENT, "sysparm_offset=-1", "", 400, "Invalid value for sysparm_offset", "below zero"),
        ("POST", &one, "", "{}", 405, "Method not supported", "a record is not posted to"),
        (
            "GET",
            "/api/now/v1/table/incident",
            "sysparm_query=number=x",
            "",
            404,
            "No Record found",
            "version 1",
        ),
    ];
    for (method, path, query, body, status, message, why) in cases {
        let reply = world.ask(method, path, query, body);
        assert_eq!((reply.status, &json(&reply)["error"]["message"]), (status, &message.into()), "{why}");
        assert_eq!(json(&reply)["status"], "failure", "{why}");
    }
    assert_eq!(world.ask("DELETE", &one, "", "").status, 204);
    let query = format!("sysparm_query=tablename=incident^documentkey={id}");
    let graves = json(&world.ask("GET", "/api/now/table/sys_audit_delete", &query, ""));
    assert_eq!(graves["result"][0]["display_value"], "INC0010001");
    assert!(
        graves["result"][0]["payload"].as_str().unwrap().contains("<correlation_id>ext-17</correlation_id>")
    );

    let mut request = Request { method: "GET".into(), path: INCIDENT.into(), ..Request::default() };
    let reply = world.mock.handle(&request, Timestamp(0));
    assert_eq!(
        (reply.status, header(&reply, "www-authenticate")),
        (401, Some("BASIC realm=\"Service-now\""))
    );
    assert_eq!(json(&reply)["error"]["message"], "User is not authenticated");
    request.method = "POST".into();
    request.path = "/oauth_token.do".into();
    for (form, error) in [
        ("grant_type=password&client_id=x", "invalid_client"),
        ("grant_type=password&client_id=client-id&client_secret=client-secret&username=x", "server_error"),
        (
            "grant_type=refresh_token&client_id=client-id&client_secret=client-secret&refresh_token=x",
            "invalid_grant",
        ),
    ] {
        request.body = form.into();
        let reply = world.mock.handle(&request, Timestamp(0));
        assert_eq!((reply.status, &json(&reply)["error"]), (401, &error.into()));
    }
}

#[tokio::test]
async fn queries_find_what_they_mean() {
    let world = strict().await;
    let user = json(&world.ask("GET", "/api/now/table/sys_user", "", ""))["result"][0]["sys_id"].clone();
    for number in 0..6 {
        world.now.fetch_add(1_000, Ordering::SeqCst);
        let body = serde_json::json!({
            "correlation_id": format!("c{number}"), "short_description": format!("Text {number}, é"),
            "priority": number + 1, "active": number % 2 == 0, "caller_id": if number < 2 { user.clone() } else { "".into() },
        });
        assert_eq!(world.ask("POST", INCIDENT, "", &body.to_string()).status, 201);
    }
    let third = json(&world.ask("GET", INCIDENT, "sysparm_query=correlation_id=c2", ""))["result"][0].clone();
    let stamp = third["sys_updated_on"].as_str().unwrap();
    // (query, numbers found, why)
    let cases = [
        ("correlation_id=C2", vec![2], "case is ignored"),
        ("correlation_id=c1^ORcorrelation_id=c4", vec![1, 4], "or"),
        ("correlation_idINc1,c4,zz", vec![1, 4], "a list"),
        ("correlation_idNOT INc1,c4", vec![0, 2, 3, 5], "not in a list"),
        ("active=true^priority>2", vec![2, 4], "numbers by amount"),
        ("priority=2^NQpriority=5", vec![1, 4], "another group"),
        ("short_descriptionLIKEtext 3", vec![3], "contains"),
        ("short_descriptionSTARTSWITHText^priorityBETWEEN2@3", vec![1, 2], "between"),
        ("caller_idISEMPTY^ORDERBYDESCcorrelation_id", vec![5, 4, 3, 2], "empty, the last first"),
        ("caller_id.email=sync@example.test", vec![0, 1], "along a reference"),
        ("nonsense=1^correlation_id=c3", vec![3], "what the table lacks is dropped"),
        ("short_description=Text 1, é", vec![1], "a comma is a value's own"),
        (&format!("sys_updated_on>{stamp}^ORDERBYsys_updated_on"), vec![3, 4, 5], "after a moment"),
        (
            &format!(
                "sys_updated_on>={stamp}^sys_updated_on>{stamp}^ORsys_id>{}^ORDERBYsys_updated_on^ORDERBYsys_id",
                third["sys_id"].as_str().unwrap()
            ),
            vec![3, 4, 5],
            "behind a row",
        ),
        ("sys_created_on>=javascript:gs.beginningOfToday()^priority=1", vec![0], "worked out"),
        (
            "sys_created_onONToday@javascript:gs.beginningOfToday()@javascript:gs.endOfToday()^priority=1",
            vec![0],
            "a day",
        ),
        ("sys_class_nameINSTANCEOFtask^priority=1", vec![0], "a class"),
    ];
    for (query, expected, why) in cases {
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("sysparm_query", query).finish();
        let page = json(&world.ask("GET", INCIDENT, &query, ""));
        let rows = page["result"].as_array().unwrap();
        let mut found: Vec<u32> =
            rows.iter().map(|row| row["correlation_id"].as_str().unwrap()[1..].parse().unwrap()).collect();
        if !query.contains("ORDERBY") {
            found.sort_unstable();
        }
        assert_eq!(found, expected, "{why}: {query}");
    }
    for (query, expected) in [("priority=2&active=false", 1), ("state=New", 6), ("caller_id=Sync+User", 2)] {
        let page = json(&world.ask("GET", INCIDENT, query, ""));
        assert_eq!(page["result"].as_array().unwrap().len(), expected, "simple filters: {query}");
    }
    let both = "sysparm_query=correlation_id=c0&sysparm_display_value=all&sysparm_fields=caller_id,state";
    let row = json(&world.ask("GET", INCIDENT, both, ""))["result"][0].clone();
    assert_eq!(row["state"], serde_json::json!({"display_value": "New", "value": "1"}));
    assert_eq!(row["caller_id"]["display_value"], "Sync User");
    assert_eq!(
        row["caller_id"]["link"],
        format!("http://mock.test/api/now/table/sys_user/{}", user.as_str().unwrap())
    );
    let plain = both.replace("=all", "=false") + "&sysparm_exclude_reference_link=True";
    assert_eq!(json(&world.ask("GET", INCIDENT, &plain, ""))["result"][0]["caller_id"], user);
}

#[tokio::test]
async fn pages_have_the_headers_that_clients_follow() {
    let world = loose().await;
    world.insert(&(0..25).map(Row::numbered).collect::<Vec<_>>()).await;
    let first = world.ask("GET", INCIDENT, "sysparm_query=ORDERBYsys_id&sysparm_limit=10", "");
    assert_eq!(header(&first, "x-total-count"), Some("25"));
    let link = header(&first, "link").unwrap();
    let place = |offset: u32, rel: &str| {
        format!(
            "<http://mock.test{INCIDENT}?sysparm_query=ORDERBYsys_id&sysparm_limit=10&sysparm_offset={offset}>;rel=\"{rel}\""
        )
    };
    assert_eq!(link, [place(0, "first"), place(10, "next"), place(20, "last")].join(","));
    let last = world.ask("GET", INCIDENT, "sysparm_limit=10&sysparm_offset=20", "");
    assert!(!header(&last, "link").unwrap().contains("next"));
    assert_eq!(json(&last)["result"].as_array().unwrap().len(), 5);
    for (query, total) in [
        ("sysparm_suppress_pagination_header=true&sysparm_limit=1", Some("25")),
        ("sysparm_no_count=true&sysparm_limit=1", None),
    ] {
        let reply = world.ask("GET", INCIDENT, query, "");
        assert_eq!((header(&reply, "link"), header(&reply, "x-total-count")), (None, total), "{query}");
    }
}

#[tokio::test]
async fn a_rule_limits_the_hour_and_says_so() {
    let world = strict().await;
    assert_eq!(
        header(&world.ask("GET", INCIDENT, "", ""), "x-ratelimit-limit"),
        None,
        "there is none at first"
    );
    let rule = r#"{"name":"few","limit_per_hour":"3","active":"true"}"#;
    assert_eq!(world.ask("POST", "/api/now/table/sys_rate_limit_rules", "", rule).status, 201);
    for _ in 0..3 {
        let reply = world.ask("GET", INCIDENT, "", "");
        assert_eq!((reply.status, header(&reply, "x-ratelimit-limit")), (200, Some("3")));
        assert!(
            header(&reply, "x-ratelimit-reset").is_some() && header(&reply, "x-ratelimit-rule").is_some()
        );
    }
    let reply = world.ask("GET", INCIDENT, "", "");
    assert_eq!(reply.status, 429);
    assert_eq!(json(&reply)["error"]["detail"], "Rate limit of 3 requests per hour for Table API exceeded");
    let wait: i64 = header(&reply, "retry-after").unwrap().parse().unwrap();
    world.now.fetch_add(wait * 1000, Ordering::SeqCst);
    assert_eq!(world.ask("GET", INCIDENT, "", "").status, 200);
}

#[tokio::test]
async fn a_batch_is_answered_request_by_request() {
    let world = strict().await;
    world.insert(&[Row::numbered(1)]).await;
    let body = r#"{"batch_request_id":7,"rest_requests":[
        {"id":"140","method":"GET","url":"/api/now/table/incident?sysparm_fields=correlation_id&sysparm_limit=1"},
        {"id":"141","method":"POST","url":"/api/now/table/incident","body":"eyJjb3JyZWxhdGlvbl9pZCI6ImIifQ==",
         "headers":[{"name":"Content-Type","value":"application/json"}]},
        {"id":142,"method":"DELETE","url":"/api/now/table/incident/0"}]}"#;
    let reply = world.ask("POST", "/api/now/v1/batch", "", body);
    let told = json(&reply);
    assert_eq!((reply.status, &told["batch_request_id"]), (200, &"7".into()), "ids come back as text");
    let items = told["serviced_requests"].as_array().unwrap();
    let ends: Vec<(&str, u64)> = items
        .iter()
        .map(|item| (item["id"].as_str().unwrap(), item["status_code"].as_u64().unwrap()))
        .collect();
    assert_eq!(ends, [("140", 200), ("141", 201), ("142", 404)]);
    let total =
        items[0]["headers"].as_array().unwrap().iter().find(|header| header["name"] == "X-Total-Count");
    assert_eq!(total.unwrap()["value"], "1");
    assert_eq!(world.objects().len(), 2);
}

#[tokio::test]
async fn the_mock_keeps_its_data_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let settings = MockSettings { data: Some(folder.path().join("mock.sqlite")), ..MockSettings::default() };
    let names = ["record_id", "name", "email"];
    let before = world(settings.clone(), spec("incident", "record_id"), names).await;
    let id = before.push(&[("record_id", 303.into()), ("u_extra", "learnt".into())]);
    assert_eq!(before.push(&[("record_id", "303".into()), ("name", "x".into())]), id, "one key, one record");
    let after = world(settings, spec("incident", "record_id"), names).await;
    let row = json(&after.ask("GET", INCIDENT, "", ""))["result"][0].clone();
    assert_eq!((&row["u_extra"], &row["number"]), (&"learnt".into(), &"INC0010001".into()));
    after.push(&[("record_id", 304.into())]);
    assert_eq!(after.objects().len(), 2);
    assert!(after.objects().iter().any(|object| object["number"] == "INC0010002"), "numbers go on");
}
