//! Records to the service: nothing twice, nothing lost, each told.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_whose_reply_was_lost_makes_no_second_record() {
    let world = loose().await;
    let destination = world.system().destination(&world.spec).unwrap();
    // The mock draws from the seed: at this rate some batches are lost after they were applied.
    let keys: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    let mut lost = 0;
    for _ in 0..30 {
        world.faults(&Faults { rate_lost_reply: 0.3, ..Faults::default() });
        for pair in keys.chunks(2) {
            let batch = world.batch(pair.iter().map(|key| create(key)).collect());
            if let Ok(outcomes) = destination.write(&batch, &call()).await {
                for outcome in &outcomes {
                    if let Outcome::Failed(fault) = outcome {
                        assert!(fault.may_have_happened, "{fault}");
                        lost += 1;
                    }
                }
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
async fn a_hundred_records_cost_a_look_up_and_a_batch() {
    let world = strict().await;
    let destination = world.system().destination(&world.spec).unwrap();
    destination.write(&world.batch(vec![create("warm up")]), &call()).await.unwrap();
    let mut calls = 0;
    for block in 0..10 {
        world.arrivals();
        let keys: Vec<String> = (0..100).map(|number| format!("k{block}-{number}")).collect();
        let outcomes = destination
            .write(&world.batch(keys.iter().map(|key| create(key)).collect()), &call())
            .await
            .unwrap();
        assert!(outcomes.iter().all(|outcome| kind(outcome) == "delivered"));
        let arrivals = world.arrivals();
        assert_eq!(arrivals, ["GET /api/now/table/incident 200", "POST /api/now/v1/batch 200"]);
        calls += arrivals.len();
    }
    assert_eq!(world.objects().len(), 1001);
    println!("servicenow: {calls} requests for 1000 creates");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_of_a_batch_has_its_own_end() {
    let world = strict().await;
    let destination = world.system().destination(&world.spec).unwrap();
    let gone = "0".repeat(32);
    world.push(&[("correlation_id", "theirs".into()), ("short_description", "Somebody else's".into())]);
    world.push(&[("correlation_id", "mine".into()), ("short_description", "Name".into())]);
    world.push(&[("correlation_id", "a".into())]);
    let update = |key: &str| Write::Update(vec![key.into(), "New".into(), Value::Absent].into());
    let writes = vec![
        create("new"),
        create("theirs"),
        create("mine"),
        create("with, comma^ORactive=true"),
        create("javascript:gs.log()"),
        ("a", None, update("a")),
        ("b", None, update("b")),
        ("c", Some(gone.as_str()), update("c")),
        ("d", Some(gone.as_str()), Write::Delete),
        ("e", None, Write::Delete),
        ("f", Some("no id"), Write::Delete),
    ];
    let outcomes = destination.write(&world.batch(writes), &call()).await.unwrap();
    let kinds: Vec<&str> = outcomes.iter().map(kind).collect();
    assert_eq!(
        kinds,
        [
            "delivered",
            "stale",
            "delivered",
            "delivered",
            "rejected",
            "delivered",
            "stale, gone",
            "stale, gone",
            "delivered",
            "delivered",
            "delivered"
        ]
    );
    assert_eq!(world.objects().len(), 5);
    // What can't be said in a list is found again all the same.
    let wanted = ["with, comma^ORactive=true", "javascript:gs.log()", "new"];
    let wanted =
        wanted.map(|key| Wanted { key: Key::from_text(key).unwrap(), id: Some(gone.as_str().into()) });
    let found = destination.look_up(&wanted, &call()).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(world.gate.entered.load(Ordering::SeqCst), world.gate.left.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_two_records_share_is_named() {
    let world = strict().await;
    for _ in 0..2 {
        let body = r#"{"correlation_id":"twin","short_description":"x"}"#;
        assert_eq!(world.ask("POST", "/api/now/table/incident", "", body).status, 201);
    }
    let destination = world.system().destination(&world.spec).unwrap();
    let outcomes = destination.write(&world.batch(vec![create("twin")]), &call()).await.unwrap();
    let Outcome::Failed(fault) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!((fault.kind.clone(), fault.code), (FaultKind::Rejected, FaultCode::Conflict));
    assert!(fault.message.contains("share one key") && fault.remedy.is_some(), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_records_are_refused_among_many() {
    let world = loose().await;
    let destination = world.system().destination(&world.spec).unwrap();
    destination.write(&world.batch(vec![create("warm up")]), &call()).await.unwrap();
    world.faults(&Faults { rate_record_failure: 0.3, ..Faults::default() });
    let keys: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
    let outcomes =
        destination.write(&world.batch(keys.iter().map(|key| create(key)).collect()), &call()).await.unwrap();
    let refused = outcomes.iter().filter(|outcome| kind(outcome) == "rejected").count();
    assert!((5..30).contains(&refused), "{refused}");
    assert_eq!(world.objects().len(), 1 + 50 - refused);
    world.faults(&Faults { rate_429: 1.0, retry_after_seconds: 9, ..Faults::default() });
    let fault = destination.write(&world.batch(vec![create("x"), create("y")]), &call()).await.unwrap_err();
    let nine = std::time::Duration::from_secs(9);
    assert_eq!(fault.kind, FaultKind::Throttled { retry_after: Some(nine) }, "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_stand_as_the_service_holds_them() {
    let world = strict().await;
    let destination = world.system().destination(&world.spec).unwrap();
    let mut batch = world.batch(vec![(
        "k",
        None,
        Write::Create(
            vec![
                "k".into(),
                Value::Int(2),
                Value::Bool(false),
                "2026-01-31T11:00:00+01:00".into(),
                Value::Null,
            ]
            .into(),
        ),
    )]);
    batch.shape = Schema::new(["correlation_id", "priority", "active", "due_date", "description"]);
    let outcomes = destination.write(&batch, &call()).await.unwrap();
    let Outcome::Delivered { stored: Some(stored), id, revision } = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    let stands = ["priority", "active", "due_date", "description"].map(|name| stored.get(name).clone());
    assert_eq!(stands, ["2".into(), "false".into(), "2026-01-31 10:00:00".into(), Value::Null]);
    assert_eq!(revision, &stored.meta.revision);
    assert!(id.as_deref().is_some_and(|id| id.len() == 32));
    // Written again it is found to be there, whatever the form.
    let again = destination.write(&batch, &call()).await.unwrap();
    assert_eq!(again.iter().map(kind).collect::<Vec<_>>(), ["delivered"]);
    assert_eq!(world.objects().len(), 1);
}
