//! One table: a reply, and the fault that it is to each connector.

use std::time::Duration;

use record_sync::engine::fault::{Fault, FaultCode, FaultKind};

use tokio::time::Instant;

use super::VICTIMS;
use super::bombs::{corrupt_gzip, gzip_bomb, peak_kib};
use super::host::{Host, Trick, head, http};

/// How long a request may take in these tests; where bytes keep coming, the limit of a body ends it.
const TIME_OUT_MS: u64 = 400;
const PLENTY_MS: u64 = 30_000;
/// The process's memory may never grow beyond this: a body's limit is 32 MiB.
const PEAK_KIB_MAX: u64 = 300 * 1024;

struct Case {
    name: &'static str,
    trick: Trick,
    timeout_ms: u64,
    /// Kind and code of the fault; for a write also whether it may have happened.
    read: (FaultKind, FaultCode),
    write: (FaultKind, FaultCode, bool),
}

const JSON: (&str, &str) = ("content-type", "application/json");
const HTML: (&str, &str) = ("content-type", "text/html");

fn cases(elsewhere: &str) -> Vec<Case> {
    use FaultCode::{Configuration, Connect, Protocol, Timeout};
    use FaultKind::{Fatal, Transient};
    let whole =
        |status: u16, kind: (&str, &str), body: &str| Trick::Raw(http(status, &[kind], body.as_bytes()));
    let raw = |parts: &[&[u8]]| Trick::Raw(parts.concat());
    let moved = |status: u16, to: &str| Trick::Raw(http(status, &[("location", to)], b""));
    let unreadable = ((Transient, Protocol), (Transient, Protocol, true));
    let page = ((Fatal, Protocol), (Fatal, Protocol, true));
    let broken = ((Transient, Connect), (Transient, Connect, true));
    let late = ((Transient, Timeout), (Transient, Timeout, true));
    let away = ((Fatal, Configuration), (Fatal, Configuration, false));
    let gzip = [JSON, ("content-encoding", "gzip")];
    // (name, trick, time-out, fault of a read and of a write)
    let table = [
        (
            "200 with an error of Salesforce",
            whole(200, JSON, r#"[{"errorCode":"UNKNOWN_EXCEPTION","message":"m"}]"#),
            TIME_OUT_MS,
            unreadable.clone(),
        ),
        (
            "200 with an error of Outreach",
            whole(200, JSON, r#"{"errors":[{"id":"serverError"}]}"#),
            TIME_OUT_MS,
            unreadable.clone(),
        ),
        (
            "200 with an error of ServiceNow",
            whole(200, JSON, r#"{"error":{"message":"cancelled"},"status":"failure"}"#),
            TIME_OUT_MS,
            unreadable.clone(),
        ),
        ("a login page", whole(200, HTML, "<!DOCTYPE html><title>Log in</title>"), TIME_OUT_MS, page.clone()),
        ("a login page that says it is JSON", whole(200, JSON, "\n<html>"), TIME_OUT_MS, page),
        ("204", Trick::Raw([head(204, &[]), b"\r\n".to_vec()].concat()), TIME_OUT_MS, unreadable.clone()),
        ("nothing", whole(200, JSON, ""), TIME_OUT_MS, unreadable.clone()),
        (
            "another type",
            whole(200, ("content-type", "image/png"), "\u{1}PNG"),
            TIME_OUT_MS,
            unreadable.clone(),
        ),
        (
            "JSON cut short, whole by its length",
            whole(200, JSON, r#"{"data":[{"id":"#),
            TIME_OUT_MS,
            unreadable.clone(),
        ),
        (
            "a length that is not reached",
            raw(&[&head(200, &[JSON]), b"content-length: 99\r\n\r\n{\"data\":"]),
            TIME_OUT_MS,
            broken.clone(),
        ),
        (
            "a chunk that is not reached",
            raw(&[&head(200, &[JSON]), b"transfer-encoding: chunked\r\n\r\n40\r\n{\"data\":"]),
            TIME_OUT_MS,
            broken.clone(),
        ),
        (
            "no last chunk",
            raw(&[&head(200, &[JSON]), b"transfer-encoding: chunked\r\n\r\n4\r\n{\"da\r\n"]),
            TIME_OUT_MS,
            broken.clone(),
        ),
        ("a head cut short", raw(&[b"HTTP/1.1 200 OK\r\ncontent-ty"]), TIME_OUT_MS, broken),
        ("no HTTP", raw(&[b"SSH-2.0-OpenSSH_9.6\r\n"]), TIME_OUT_MS, unreadable.clone()),
        (
            "gzip that is none",
            Trick::Raw(http(200, &gzip, b"{\"data\":[]}")),
            TIME_OUT_MS,
            unreadable.clone(),
        ),
        ("gzip that breaks", Trick::Raw(http(200, &gzip, &corrupt_gzip())), TIME_OUT_MS, unreadable.clone()),
        (
            "a gigabyte in a megabyte of gzip",
            Trick::Raw(http(200, &gzip, &gzip_bomb())),
            PLENTY_MS,
            ((Fatal, Protocol), (Fatal, Protocol, true)),
        ),
        ("a gigabyte", Trick::Flood, PLENTY_MS, ((Fatal, Protocol), (Fatal, Protocol, true))),
        ("a byte a second", Trick::Drip, TIME_OUT_MS, late.clone()),
        ("headers without end", Trick::Heads, PLENTY_MS, unreadable),
        ("silence", Trick::Silence, TIME_OUT_MS, late),
        ("a redirect to itself", moved(302, "/"), TIME_OUT_MS, away.clone()),
        ("a redirect to another host", moved(302, elsewhere), TIME_OUT_MS, away.clone()),
        ("the same with the method kept", moved(307, elsewhere), TIME_OUT_MS, away.clone()),
        ("the same for ever", moved(308, elsewhere), TIME_OUT_MS, away),
    ];
    let case = |(name, trick, timeout_ms, (read, write))| Case { name, trick, timeout_ms, read, write };
    table.into_iter().map(case).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_reply_is_one_fault_in_bounded_time_and_memory() {
    let other = Host::start("outreach").await;
    for victim in VICTIMS {
        let host = Host::start(victim.connector).await;
        for case in cases(&format!("{}/caught", other.url)) {
            let told = |what: &str| format!("{} {what} {}", victim.connector, case.name);
            let most = Duration::from_millis(case.timeout_ms) + Duration::from_secs(5);
            let trick = case.trick.clone();
            host.plan(move |request| victim.is_read(request).then(|| trick.clone()));
            let began = Instant::now();
            let fault = victim.read(&victim.open(&host, case.timeout_ms)).await.expect_err(&told("reads"));
            assert_eq!((fault.kind.clone(), fault.code), case.read, "{}: {fault}", told("reads"));
            assert!(began.elapsed() < most, "{}: {:?}", told("reads"), began.elapsed());
            assert!(!fault.may_have_happened, "{}", told("reads"));
            asked_once(&host, |request| victim.is_read(request), &told("reads"));

            let trick = case.trick.clone();
            host.plan(move |request| victim.is_write(request).then(|| trick.clone()));
            let began = Instant::now();
            let fault = victim.write(&victim.open(&host, case.timeout_ms)).await.expect_err(&told("writes"));
            let got = (fault.kind.clone(), fault.code, fault.may_have_happened);
            assert_eq!(got, case.write, "{}: {fault}", told("writes"));
            assert!(began.elapsed() < most, "{}: {:?}", told("writes"), began.elapsed());
            asked_once(&host, |request| victim.is_write(request), &told("writes"));

            tells_no_secret(&fault, &told("writes"));
            assert_eq!(other.seen().len(), 0, "{}: another host heard of it", told("calls"));
            let peak = peak_kib();
            assert!(peak < PEAK_KIB_MAX, "{}: {peak} KiB", told("calls"));
        }
        // Two floods, each hung up on at its limit; what the sockets hold goes on top.
        assert!(host.flooded() < 2 * (64 << 20), "{} bytes", host.flooded());
    }
}

#[tokio::test]
async fn a_login_that_meets_a_hostile_reply_tells_no_secret_and_follows_nobody() {
    let other = Host::start("outreach").await;
    for victim in VICTIMS {
        let host = Host::start(victim.connector).await;
        for case in cases(&format!("{}/caught", other.url)) {
            if case.timeout_ms != TIME_OUT_MS {
                continue;
            }
            let trick = case.trick.clone();
            host.plan(move |request| victim.is_login(request).then(|| trick.clone()));
            let fault = victim.read(&victim.open(&host, case.timeout_ms)).await.expect_err(case.name);
            assert_eq!(
                fault.code, case.read.1,
                "{} logs in and meets {}: {fault}",
                victim.connector, case.name
            );
            tells_no_secret(&fault, case.name);
            assert_eq!(other.seen().len(), 0, "{}: the form went to another host", case.name);
        }
    }
}

/// Nothing is repeated at the wire: the attempt and its cost belong to the job.
fn asked_once(host: &Host, is: impl Fn(&record_sync::connectors::mock::Request) -> bool, told: &str) {
    let asked = host.seen().into_iter().filter(is).count();
    assert_eq!(asked, 1, "{told}: asked {asked} times");
}

fn tells_no_secret(fault: &Fault, told: &str) {
    let text = format!("{fault:?}");
    for secret in ["client-secret", "or-refresh-1", "Bearer"] {
        assert!(!text.contains(secret), "{told}: {text}");
    }
}
