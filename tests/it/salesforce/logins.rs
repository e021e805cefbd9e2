//! Every way to log in, and what is said where one fails.

use record_sync::connectors::{Call, Class};
use record_sync::engine::fault::{Fault, FaultCode, FaultKind};
use serde_json::{Value, json};

use super::{World, strict_org};
use crate::conformance::Harness;

/// Opens the mock's certificate and nothing else.
const KEY: &str = include_str!("../../clients/salesforce-mock-key.pem");
const KEY_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/salesforce-mock-key.pem");

async fn describe(world: &World, extra: &Value) -> Result<(), Fault> {
    let system = world.open(extra.clone());
    system.describe(&world.spec(), &Call::new(Class::Live, "test")).await.map(|_| ())
}

#[tokio::test]
async fn every_login_works() {
    let world = strict_org().await;
    let user = "sync@example.test";
    // (settings, why)
    let cases = [
        (json!({}), "client credentials"),
        (json!({"username": user, "password": "pa55word", "security_token": "sectoken"}), "a password"),
        (json!({"refresh_token": "sf-refresh-1"}), "a refresh token"),
        (json!({"username": user, "private_key": KEY_PATH}), "an assertion, signed by a key in a file"),
        (json!({"username": user, "private_key": KEY}), "by one that stands in the settings"),
        (
            json!({"username": user, "private_key": KEY.replace('\n', "\\n")}),
            "or came through an environment",
        ),
        (
            json!({"username": user, "private_key": KEY, "audience": "https://test.salesforce.com"}),
            "meant for a sandbox",
        ),
    ];
    for (settings, why) in cases {
        describe(&world, &settings).await.unwrap_or_else(|fault| panic!("{why}: {fault}"));
    }
}

#[tokio::test]
async fn a_login_that_fails_says_where_and_what_to_do() {
    let world = strict_org().await;
    let user = "sync@example.test";
    let cut = KEY.lines().take(5).collect::<Vec<_>>().join("\n");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\ncanary\n-----END ENCRYPTED PRIVATE KEY-----";
    // (settings, part of the message, part of the remedy, why)
    let cases = [
        (json!({"client_secret": "canary"}), "invalid_client", "client_secret", "a wrong secret"),
        (json!({"username": user, "password": "canary"}), "invalid_grant", "user", "a wrong password"),
        (json!({"refresh_token": "canary"}), "expired access/refresh token", "client_id", "an old token"),
        (json!({"username": "x@y", "private_key": KEY}), "hasn't approved", "user", "somebody else"),
        (
            json!({"username": user, "private_key": KEY, "audience": "https://x.test"}),
            "audience",
            "login_url",
            "meant for another",
        ),
        (json!({"username": user, "private_key": "canary.pem"}), "private_key", "path", "no such file"),
        (json!({"username": user, "private_key": cut}), "private_key: it is no RSA key", "PEM", "cut short"),
        (json!({"username": user, "private_key": locked}), "passphrase", "without", "a locked key"),
    ];
    for (settings, message, remedy, why) in cases {
        let fault = describe(&world, &settings).await.expect_err(why);
        assert_eq!(fault.kind, FaultKind::Fatal, "{why}: {fault}");
        assert!(fault.message.contains(message), "{why}: {fault}");
        assert!(fault.remedy.as_deref().is_some_and(|text| text.contains(remedy)), "{why}: {fault}");
        assert!(!fault.to_string().contains("canary"), "{why}: {fault}");
    }
}

#[tokio::test]
async fn a_version_that_the_org_lacks_is_named_with_one_that_it_has() {
    let world = strict_org().await;
    let fault = describe(&world, &json!({"api_version": "99.0"})).await.expect_err("the mock ends at 61");
    assert_eq!(fault.code, FaultCode::Configuration);
    let said = fault.to_string();
    assert!(said.contains("99.0") && said.contains("api_version = \"61.0\""), "{said}");
    // One that it has is not blamed for an object that is not there.
    let mut spec = world.spec();
    spec.stream = "Nope".to_owned();
    let system = world.open(json!({"api_version": "60.0"}));
    let fault = system.describe(&spec, &Call::new(Class::Live, "test")).await.expect_err("no such object");
    assert!(fault.message.contains("no object Nope"), "{fault}");
}
