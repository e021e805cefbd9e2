//! Records from the service: logins, pages, deletions.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_login_lets_in_and_none_is_made_twice() {
    let user = serde_json::json!({"username": "sync@example.test", "password": "pa55word"});
    let app = serde_json::json!({"client_id": "client-id", "client_secret": "client-secret"});
    let merged = |parts: &[&serde_json::Value]| {
        let mut all = serde_json::Map::new();
        for part in parts {
            all.extend(part.as_object().unwrap().clone());
        }
        serde_json::Value::Object(all)
    };
    let list = "GET /api/now/table/incident 200";
    let token = "POST /oauth_token.do 200";
    // (settings, arrivals of two reads, after the token's end, why)
    let cases = [
        (user.clone(), vec![list, list], vec![list], "basic"),
        (
            merged(&[&user, &app]),
            vec![token, list, list],
            vec![token, list],
            "password, then its refresh token",
        ),
        (app.clone(), vec![token, list, list], vec![token, list], "client credentials"),
    ];
    for (settings, first, later, why) in cases {
        let world = strict().await;
        let mut settings = settings;
        settings["base_url"] = world.url.clone().into();
        let mut source = world.open(settings.clone()).source(&world.spec).unwrap();
        source.read(None, 10, &call()).await.unwrap();
        source.read(None, 10, &call()).await.unwrap();
        assert_eq!(world.arrivals(), first, "{why}");
        world.now.fetch_add(2_000_000, Ordering::SeqCst);
        source.read(None, 10, &call()).await.unwrap();
        assert_eq!(world.arrivals(), later, "{why}: renewed before it was refused");
        for key in ["password", "client_secret"] {
            if settings[key].is_string() {
                let mut wrong = settings.clone();
                wrong[key] = "stolen".into();
                let mut source = world.open(wrong).source(&world.spec).unwrap();
                let fault = source.read(None, 10, &call()).await.unwrap_err();
                assert_eq!((fault.kind.clone(), fault.code), (FaultKind::Fatal, FaultCode::Auth), "{fault}");
            }
        }
    }
    let world = strict().await;
    let login = "grant_type=password&client_id=client-id&client_secret=client-secret&username=sync@example.test&password=pa55word";
    let told = json(&world.ask("POST", "/oauth_token.do", "", login));
    let mut settings = app;
    settings["base_url"] = world.url.clone().into();
    settings["refresh_token"] = told["refresh_token"].clone();
    let mut source = world.open(settings).source(&world.spec).unwrap();
    source.read(None, 10, &call()).await.unwrap();
    assert!(world.open(serde_json::json!({"base_url": "mock"})).describe(&world.spec, &call()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_stream_costs_two_requests_and_shows_nothing() {
    let world = strict().await;
    world.insert(&(0..5).map(Row::numbered).collect::<Vec<_>>()).await;
    world.settle().await;
    let mut source = world.system().source(&world.spec).unwrap();
    let mut cursor = None;
    for pass in 0..4 {
        world.arrivals();
        let page = source.read(cursor.as_ref(), 100, &call()).await.unwrap();
        assert_eq!(page.end, if pass == 0 { End::Complete } else { End::CaughtUp });
        assert_eq!(page.changes.len(), if pass == 0 { 5 } else { 0 }, "pass {pass}");
        cursor = page.cursor;
        source.ack(cursor.as_ref().unwrap()).await.unwrap();
        // Once it asks what classes there are.
        let calls = [1, 3, 2, 2];
        assert_eq!(world.arrivals().len(), calls[pass], "pass {pass}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_are_told_once_with_their_moment() {
    let world = strict().await;
    world.insert(&(0..5).map(Row::numbered).collect::<Vec<_>>()).await;
    world.settle().await;
    let mut source = world.system().source(&world.spec).unwrap();
    let mut cursor = source.read(None, 100, &call()).await.unwrap().cursor;
    source.ack(cursor.as_ref().unwrap()).await.unwrap();
    let ids: Vec<String> =
        world.objects().iter().map(|object| object["sys_id"].as_str().unwrap().to_owned()).collect();
    let mut told = Vec::new();
    for id in &ids[..3] {
        world.now.fetch_add(1_000, Ordering::SeqCst);
        world.remove(id);
    }
    for _ in 0..6 {
        let page = source.read(cursor.as_ref(), 2, &call()).await.unwrap();
        for change in page.changes {
            let Change::Delete(tombstone) = change else { panic!("{change:?}") };
            assert!(tombstone.at.is_some());
            told.push(tombstone.id.unwrap().to_string());
        }
        cursor = page.cursor;
        source.ack(cursor.as_ref().unwrap()).await.unwrap();
    }
    assert_eq!(told, ids[..3], "in order, none twice, over pages of two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_describes_itself_by_its_dictionary() {
    let world = strict().await;
    let system = world.system();
    let info = system.describe(&world.spec, &call()).await.unwrap();
    assert!(!info.open);
    for field in ["correlation_id", "caller_id", "sys_updated_on"] {
        assert!(info.fields.contains(&field.to_owned()), "{field}: an own, an inherited, a system field");
    }
    assert!(info.walks.contains(&"caller_id".to_owned()) && !info.walks.contains(&"priority".to_owned()));
    let barred: Vec<&str> = info.barred.keys().map(String::as_str).collect();
    let system_fields =
        ["sys_created_by", "sys_created_on", "sys_id", "sys_mod_count", "sys_updated_by", "sys_updated_on"];
    assert_eq!(barred, system_fields, "the service sets them itself");
    let fault = system.describe(&spec("incident", "u_key"), &call()).await.unwrap_err();
    assert_eq!((fault.kind.clone(), fault.code), (FaultKind::Fatal, FaultCode::Configuration), "{fault}");
    for stream in ["incidnt", "inci dent", "../incident", ""] {
        let fault = system.describe(&spec(stream, "correlation_id"), &call()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Fatal, "{stream}");
        assert!(fault.remedy.is_some(), "{stream}");
    }
    let mut odd = world.spec.clone();
    odd.options.insert("deletes".into(), "never".into());
    assert!(system.describe(&odd, &call()).await.unwrap_err().message.contains("never"));
    assert!(loose().await.system().describe(&spec("u_anything", "u_key"), &call()).await.unwrap().open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_clock_is_not_utc_is_refused_before_anything_is_missed() {
    let world = strict().await;
    let system = world.system();
    let me = world.ask("GET", "/api/now/table/sys_user", "user_name=sync@example.test", "");
    let me = format!("/api/now/table/sys_user/{}", json(&me)["result"][0]["sys_id"].as_str().unwrap());
    let set = |zone: &str| world.ask("PATCH", &me, "", &format!(r#"{{"time_zone": "{zone}"}}"#));
    set("US/Pacific");
    assert!(system.describe(&world.spec, &call()).await.is_ok(), "an empty table shows nothing");
    world.insert(&[Row::numbered(1)]).await;
    for zone in ["US/Pacific", "Asia/Tokyo"] {
        set(zone);
        let fault = system.describe(&world.spec, &call()).await.unwrap_err();
        assert_eq!((fault.kind.clone(), fault.code), (FaultKind::Fatal, FaultCode::Configuration), "{zone}");
        assert!(fault.remedy.as_ref().unwrap().contains("GMT"), "{zone}: {fault}");
    }
    for zone in ["GMT", "Africa/Abidjan"] {
        set(zone);
        assert!(system.describe(&world.spec, &call()).await.is_ok(), "{zone}: its clock is UTC");
    }
}
