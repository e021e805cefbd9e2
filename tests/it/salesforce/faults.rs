//! What goes wrong between us and the org.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use record_sync::connectors::{Batch, Delivery, Outcome, System, Write};
use record_sync::engine::fault::{Fault, FaultCode, FaultKind};
use record_sync::engine::record::{Key, Schema, Value};
use serde_json::json;

use super::{World, json as body, open_org};
use crate::conformance::{Harness, Row, call};

async fn create(world: &World, system: &Arc<dyn System>, count: usize) -> Result<Vec<Outcome>, Fault> {
    let delivery = |at: usize| Delivery {
        key: Key::from_text(&at.to_string()).unwrap(),
        id: None,
        write: Write::Create(vec![Value::Int(at as i64), "name".into()].into()),
        expected: None,
        revision: None,
    };
    let destination = system.destination(&world.spec()).unwrap();
    let deliveries = (0..count).map(delivery).collect();
    destination.write(&Batch { shape: Schema::new(["record_id", "name"]), deliveries }, &call()).await
}

#[tokio::test]
async fn wrong_credentials_stop_the_stream_with_a_remedy() {
    let world = open_org().await;
    let user =
        json!({ "username": "sync@example.test", "password": "pa55word", "security_token": "sectoken" });
    // (settings, is let in, why)
    let cases = [
        (json!({}), true, "client credentials"),
        (user, true, "a user with password and security token"),
        (json!({ "refresh_token": "sf-refresh-1" }), true, "a refresh token"),
        (json!({ "client_secret": "wrong" }), false, "a wrong secret"),
        (json!({ "client_id": "wrong" }), false, "an unknown app"),
        (json!({ "refresh_token": "wrong" }), false, "a dead refresh token"),
        (json!({ "username": "sync@example.test", "password": "pa55word" }), false, "no security token"),
    ];
    for (settings, is_let_in, why) in cases {
        let result = world.open(settings).describe(&world.spec(), &call()).await;
        match result {
            Ok(_) => assert!(is_let_in, "{why}"),
            Err(fault) => {
                assert!(!is_let_in, "{why}: {fault}");
                assert_eq!((&fault.kind, fault.code), (&FaultKind::Fatal, FaultCode::Auth), "{why}");
                assert!(fault.remedy.is_some(), "{why}");
                assert!(!fault.to_string().contains("wrong"), "{why}: {fault}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_that_ended_is_renewed_once_for_all_who_meet_it() {
    let world = open_org().await;
    world.insert(&[Row::numbered(1)]).await;
    let system = world.system();
    system.describe(&world.spec(), &call()).await.unwrap();
    world.advance(3 * 60 * 60);
    world.forget_arrivals();
    let (spec, one) = (world.spec(), call());
    let describes = (0..20).map(|_| system.describe(&spec, &one));
    let results = futures_util::future::join_all(describes).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let log = body(&world.ask("GET", "/__admin/arrivals", &[], ""));
    let count = |part: &str, status: u16| {
        let list = log.as_array().unwrap().iter();
        list.filter(|it| it["path"].as_str().unwrap().contains(part) && it["status"] == status).count()
    };
    assert_eq!(count("oauth2/token", 200), 1, "one login for all");
    assert_eq!((count("describe", 401), count("describe", 200)), (20, 20), "each tried again once");
    assert_eq!(world.gate.entered.load(Ordering::SeqCst), world.gate.left.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_throttled_call_waits_as_told_and_the_gate_hears_of_it() {
    let world = open_org().await;
    let system = world.system();
    system.describe(&world.spec(), &call()).await.unwrap();
    world.set_faults(r#"{"rate_429": 1, "retry_after_seconds": 7}"#);
    let fault = create(&world, &system, 1).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Throttled { retry_after: Some(Duration::from_secs(7)) });
    assert_eq!(world.gate.throttled.load(Ordering::SeqCst), 1);
    world.set_faults(r#"{"rate_503": 1}"#);
    let fault = create(&world, &system, 1).await.unwrap_err();
    assert_eq!((fault.kind, fault.code), (FaultKind::Transient, FaultCode::Unavailable));
}

#[tokio::test]
async fn a_lost_reply_may_have_happened_and_a_repetition_makes_no_second_record() {
    let world = open_org().await;
    let system = world.system();
    system.describe(&world.spec(), &call()).await.unwrap();
    world.set_faults(r#"{"rate_lost_reply": 1}"#);
    let fault = create(&world, &system, 3).await.unwrap_err();
    assert_eq!((&fault.kind, fault.code), (&FaultKind::Transient, FaultCode::Connect), "{fault}");
    assert!(fault.may_have_happened);
    assert_eq!(world.standing().len(), 3, "it did happen");
    world.set_faults("{}");
    create(&world, &system, 3).await.unwrap();
    assert_eq!(world.standing().len(), 3, "and did not happen twice");
}

#[tokio::test]
async fn single_records_fail_among_others() {
    let world = open_org().await;
    let system = world.system();
    world.set_faults(r#"{"rate_record_failure": 0.3}"#);
    let outcomes = create(&world, &system, 100).await.unwrap();
    let failed = |outcome: &&Outcome| match outcome {
        Outcome::Failed(fault) => {
            assert_eq!(fault.kind, FaultKind::Transient, "{fault}");
            true
        }
        _ => false,
    };
    let failed = outcomes.iter().filter(failed).count();
    assert!((15..45).contains(&failed), "{failed}");
    assert_eq!(world.standing().len(), 100 - failed);
}

#[tokio::test]
async fn a_caller_who_gives_up_leaves_the_gate() {
    let world = open_org().await;
    let system = world.system();
    system.describe(&world.spec(), &call()).await.unwrap();
    world.set_faults(r#"{"latency_ms": 60000}"#);
    let patience = Duration::from_millis(100);
    let given_up = tokio::time::timeout(patience, system.describe(&world.spec(), &call())).await;
    assert!(given_up.is_err());
    assert_eq!(world.gate.entered.load(Ordering::SeqCst), 3);
    assert_eq!(world.gate.left.load(Ordering::SeqCst), 3);

    let impatient = world.open(json!({ "timeout_ms": 50 }));
    let fault = impatient.describe(&world.spec(), &call()).await.unwrap_err();
    assert_eq!((fault.kind, fault.code), (FaultKind::Transient, FaultCode::Timeout));
}

#[tokio::test]
async fn nobody_at_home_is_a_fault_of_the_connection() {
    let world = open_org().await;
    let nowhere = world.open(json!({ "base_url": "http://127.0.0.1:9" }));
    let fault = nowhere.describe(&world.spec(), &call()).await.unwrap_err();
    assert_eq!((&fault.kind, fault.code), (&FaultKind::Transient, FaultCode::Connect), "{fault}");
    assert!(!fault.may_have_happened);
}
