//! Fifty callers whose token ran out at once.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use record_sync::engine::fault::{FaultCode, FaultKind};
use tokio::sync::Barrier;

use super::host::{Host, Trick, http};
use super::{VICTIMS, Victim};

const CALLERS: usize = 50;
const JSON: (&str, &str) = ("content-type", "application/json");
const ENDED: &[u8] = br#"[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]"#;

/// Answers the token of the first login with 401, to all callers at the same moment.
fn expire(host: &Host, victim: Victim, refuses_logins: bool) {
    let old = Mutex::new(None);
    let all = Arc::new(Barrier::new(CALLERS));
    host.plan(move |request| {
        if victim.is_login(request) {
            let refusal = br#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#;
            return refuses_logins.then(|| Trick::Raw(http(400, &[JSON], refusal)));
        }
        let token = request.header("authorization").unwrap_or_default().to_owned();
        let mut old = old.lock().unwrap();
        let old = old.get_or_insert_with(|| token.clone());
        (*old == token).then(|| Trick::Together(Arc::clone(&all), http(401, &[JSON], ENDED)))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_that_meet_a_401_renew_the_token_once() {
    for victim in VICTIMS {
        let host = Host::start(victim.connector).await;
        let system = victim.open(&host, 10_000);
        victim.write(&system).await.expect("a fair start");
        expire(&host, victim, false);
        let results = join_all((0..CALLERS).map(|_| victim.read(&system))).await;
        assert!(results.iter().all(Result::is_ok), "{}: {results:?}", victim.connector);
        let seen = host.seen();
        let logins = seen.iter().filter(|request| victim.is_login(request)).count();
        assert_eq!(logins, 1, "{}", victim.connector);
        let refused = seen.len() - logins;
        assert!(refused >= 2 * CALLERS, "{}: every caller was refused, and came again", victim.connector);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_share_one_refused_login() {
    for victim in VICTIMS {
        let host = Host::start(victim.connector).await;
        let system = victim.open(&host, 10_000);
        victim.write(&system).await.expect("a fair start");
        expire(&host, victim, true);
        for fault in join_all((0..CALLERS).map(|_| victim.read(&system))).await {
            let fault = fault.expect_err("refused");
            assert_eq!((&fault.kind, fault.code), (&FaultKind::Fatal, FaultCode::Auth), "{fault}");
            assert!(fault.remedy.is_some(), "{fault}");
        }
        // Outreach hands out another refresh token each time: the last one is tried, then the configured.
        let seen = host.seen();
        let mut forms: Vec<&[u8]> =
            seen.iter().filter(|request| victim.is_login(request)).map(|request| &*request.body).collect();
        let logins = forms.len();
        forms.sort_unstable();
        forms.dedup();
        assert_eq!(forms.len(), logins, "{}: nothing is asked twice", victim.connector);
        assert!((1..=2).contains(&logins), "{}: {logins} logins", victim.connector);
    }
}
