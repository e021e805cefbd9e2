//! Records to the service: nothing twice, nothing lost, each told.

use super::*;

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
    let update = |key: &str| Write::Update(vec![key.into(), "New".into(), Value::Absent].into());
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
    // Four are under way at once: those that were when the service said so go to their ends.
    for (faults, most, tried, why) in [
        (
            Faults { rate_429: 1.0, retry_after_seconds: 9, ..Faults::default() },
            4,
            "throttled",
            "the first 429 speaks for all",
        ),
        (
            Faults { rate_503: 1.0, ..Faults::default() },
            6,
            "transient",
            "three failures in a row, and the untried ones lose no attempt",
        ),
    ] {
        world.faults(&faults);
        let delete = || ("x", Some(id.as_str()), Write::Delete);
        let outcomes =
            destination.write(&world.batch((0..20).map(|_| delete()).collect()), &call()).await.unwrap();
        let calls = world.arrivals().len();
        assert!((1..=most).contains(&calls), "{why}: {calls} calls");
        let kinds: Vec<&str> = outcomes.iter().map(kind).collect();
        let (begun, rest) = kinds.split_at(calls);
        assert_eq!((begun, rest), (&vec![tried; calls][..], &vec!["throttled"; 20 - calls][..]), "{why}");
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
    let barred: Vec<&str> = info.barred.keys().map(String::as_str).collect();
    assert_eq!(barred, ["createdAt", "touchedAt", "updatedAt"], "the service sets them itself");
    let loose = loose().await.system().describe(&spec("prospects", "id"), &call()).await.unwrap();
    assert!(loose.open && loose.barred.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_and_relationships_go_both_ways_exactly() {
    let world = loose().await;
    let destination = world.system().destination(&world.spec).unwrap();
    let big = record_sync::engine::record::Number::parse("12345678901234567890.10").unwrap();
    let mut batch =
        world.batch(vec![("k", None, Write::Create(vec!["k".into(), big.clone(), 5.into()].into()))]);
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
