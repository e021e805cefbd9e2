//! What is sent, what replies say of it, and what is done when they are lost.

use record_sync::engine::fault::FaultCode;

use super::*;

fn kinds(outcomes: &[Outcome]) -> Vec<&'static str> {
    outcomes.iter().map(kind).collect()
}

fn renamed(key: &str) -> Write {
    Write::Update(vec![key.into(), "Renamed".into(), Value::Absent].into())
}

fn is_write(arrival: &str) -> bool {
    !arrival.starts_with("GET") && !arrival.contains("/oauth/")
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_record_wherever_there_is_a_way_to_know() {
    for (name, world) in [
        ("feed", feed().await),
        ("scheduler", scheduler().await),
        ("properties", properties().await),
        ("linked", linked().await),
        ("numbered", numbered().await),
    ] {
        // Any of them may be the one: the login, the look before the create, the create itself.
        world.faults(&Faults { rate_lost_reply: 0.5, ..Faults::default() });
        let mut kept = false;
        for _ in 0..100 {
            let outcomes = world.write(vec![create("k1"), create("k2")]).await;
            kept = outcomes.is_ok_and(|outcomes| kinds(&outcomes) == ["delivered", "delivered"]);
            if kept {
                break;
            }
        }
        assert!(kept, "{name}: it never got through");
        world.faults(&Faults::default());
        assert_eq!(world.objects().len(), 2, "{name}: none twice");
    }
}

#[tokio::test]
async fn an_idempotency_header_is_the_same_for_the_same_record_only() {
    let world = feed().await;
    let mut settings = world.settings();
    let stream = &mut settings["streams"][STREAM];
    stream.as_object_mut().unwrap().remove("find");
    stream["create"]["idempotency_header"] = "Idempotency-Key".into();
    stream["create"]["idempotency_value"] = "sync-{key}-{hash}".into();
    let mut described = world.description.clone();
    described["streams"][STREAM]["create"] = stream["create"].clone();
    // The mock has to know the header, too.
    let stream = described["streams"][STREAM].clone();
    let world =
        super::world(json!({"auth": {"type": "bearer"}}), stream, "", ("authorization", "Bearer token"))
            .await;
    settings["base_url"] = world.url.as_str().into();
    let destination = world.open(settings).destination(&world.spec()).unwrap();
    world.faults(&Faults { rate_lost_reply: 1.0, ..Faults::default() });
    let lost = destination.write(&world.batch(vec![create("k1")]), &call()).await.unwrap();
    assert_eq!(kinds(&lost), ["transient"]);
    world.faults(&Faults::default());
    let again = destination.write(&world.batch(vec![create("k1"), create("k2")]), &call()).await.unwrap();
    assert_eq!(kinds(&again), ["delivered", "delivered"]);
    assert_eq!(world.objects().len(), 2, "the repeated one was known by its header");
}

#[tokio::test]
async fn a_create_finds_what_stands_there() {
    let world = feed().await;
    world.push(&[("record_id", "k1".into()), ("name", "Name".into())]);
    world.push(&[("record_id", "k2".into()), ("name", "Somebody else's".into())]);
    let outcomes = world.write(vec![create("k1"), create("k2"), create("k3")]).await.unwrap();
    assert_eq!(kinds(&outcomes), ["delivered", "stale", "delivered"], "ours, another's, none");
    assert_eq!(world.objects().len(), 3);
}

#[tokio::test]
async fn a_batch_is_one_request_and_answers_record_by_record() {
    let world = scheduler().await;
    let writes = ["k1", "k2", "k3", "k4"].map(create).into();
    let outcomes = world.write(writes).await.unwrap();
    let ids: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Delivered { id: Some(id), stored: Some(stored), .. } => {
                assert_eq!(stored.meta.id.as_deref(), Some(id.as_str()));
                id.to_string()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let written: Vec<String> = world.arrivals().into_iter().filter(|line| is_write(line)).collect();
    assert_eq!(written, ["POST /people/bulk 200"], "one for four");
    let bad = Write::Update(vec!["k2".into(), "".into(), Value::Absent].into());
    let outcomes = world
        .write(vec![
            ("k1", Some(&ids[0]), renamed("k1")),
            ("k2", Some(&ids[1]), bad),
            ("k9", Some("99"), renamed("k9")),
            ("k3", Some(&ids[2]), Write::Delete),
            ("k8", Some("98"), Write::Delete),
            create("k5"),
        ])
        .await
        .unwrap();
    assert_eq!(
        kinds(&outcomes),
        ["delivered", "rejected", "stale, gone", "delivered", "delivered", "delivered"],
        "each its own; what is gone is deleted"
    );
    let written: Vec<String> = world.arrivals().into_iter().filter(|line| is_write(line)).collect();
    assert_eq!(written, ["POST /people/bulk 200", "PATCH /people/bulk 200", "DELETE /people/bulk 200"]);
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_is_cut_until_the_bad_one_is_alone() {
    let world = scheduler().await;
    let mut stream = world.description["streams"][STREAM].clone();
    // All or none: no place for a result of each.
    stream["create"] = json!({"path": "/people/bulk", "wrap": "/items", "reply": "/record",
        "batch": {"max": 20, "results": "/results"}});
    let system = json!({"auth": {"type": "api_key", "header": "X-Api-Key"}});
    let world = super::world(system, stream, "", ("x-api-key", "token")).await;
    let mut writes: Vec<_> = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"].map(create).into();
    writes[5].2 = Write::Create(vec!["k5".into(), "".into(), Value::Absent].into());
    let outcomes = world.write(writes).await.unwrap();
    let mut expected = vec!["delivered"; 8];
    expected[5] = "rejected";
    assert_eq!(kinds(&outcomes), expected);
    assert_eq!(world.objects().len(), 7);
    let posts = world.arrivals().into_iter().filter(|line| is_write(line)).count();
    assert!(posts <= 7, "halved, not one by one: {posts}");
}

#[tokio::test]
async fn a_version_that_moved_stops_an_update() {
    let world = linked().await;
    let id = world.push(&[("record_id", "k1".into()), ("name", "A".into()), ("kept", Value::Int(7))]);
    let mut batch = world.batch(vec![("k1", Some(&id), renamed("k1"))]);
    batch.deliveries[0].revision = Some("2001-01-01 00:00:00".into());
    let destination = world.system().destination(&world.spec()).unwrap();
    let outcomes = destination.write(&batch, &call()).await.unwrap();
    match outcomes.as_slice() {
        [Outcome::Stale(Some(record))] => assert_eq!(record.get("name").as_text(), Some("A")),
        other => panic!("{other:?}"),
    }
    batch.deliveries[0].revision = None;
    let outcomes = destination.write(&batch, &call()).await.unwrap();
    assert_eq!(kinds(&outcomes), ["delivered"]);
    assert_eq!(world.objects()[0]["kept"], 7, "sent whole, with what nobody maps");
}

#[tokio::test]
async fn what_is_not_described_is_refused_with_a_remedy() {
    let world = feed().await;
    let mut settings = world.settings();
    settings["streams"][STREAM].as_object_mut().unwrap().remove("delete");
    let destination = world.open(settings).destination(&world.spec()).unwrap();
    let outcomes =
        destination.write(&world.batch(vec![("k1", Some("1"), Write::Delete)]), &call()).await.unwrap();
    match outcomes.as_slice() {
        [Outcome::Failed(fault)] => {
            assert_eq!((&fault.kind, fault.code), (&FaultKind::Rejected, FaultCode::Validation));
            assert!(fault.remedy.as_ref().unwrap().contains("delete"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_and_ids_of_any_letters_stay_in_their_place() {
    let world = linked().await;
    for key in ["a/b", "a?b=c#d", "../k", "a%2Fb", "x y+z", "ü/🦀", "k\"1", "{id}"] {
        let outcomes = world.write(vec![create(key)]).await.unwrap();
        assert_eq!(kinds(&outcomes), ["delivered"], "{key}");
        let wanted = [Wanted { key: Key::from_text(key).unwrap(), id: None }];
        let found =
            world.system().destination(&world.spec()).unwrap().look_up(&wanted, &call()).await.unwrap();
        assert_eq!(
            found[0].as_ref().map(|record| record.get("record_id").clone()),
            Some(Value::text(key)),
            "{key}"
        );
    }
    let outcomes = world.write(vec![("k", Some(".."), renamed("k"))]).await.unwrap();
    assert_ne!(kinds(&outcomes), ["delivered"], "an id that would climb out of its path");
}
