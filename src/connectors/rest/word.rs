//! The server's own word: how long to wait, and how many calls it still takes.
//!
//! One parser for all services, because they copy each other's headers. What is absurd or garbage is
//! cut down or left out here; how long a word holds calls back at most is the gate's business.

use std::time::Duration;

use reqwest::header::{DATE, RETRY_AFTER};

use super::reply::RawReply;
use super::retry_after::{RETRY_AFTER_MAX, parse_http_date, retry_after};
use crate::connectors::{Quota, Report};
use crate::engine::record::Timestamp;

/// Reports what any HTTP service means: 5xx is its failure, a refusal may say how long to wait, and
/// any reply may tell the budget.
pub fn plain_report(reply: &RawReply, now: Timestamp) -> Report {
    Report {
        failed: reply.status >= 500,
        retry_after: told_wait(reply, now),
        quota: quota(reply, now),
        throttled: reply.status == 429,
        ..Report::default()
    }
}

/// Reads how long a refusal asks to wait: the longest `Retry-After`, measured on the server's own
/// clock where it tells it; for a 429 that has none, the moment when the budget begins anew. `None`
/// for replies that are no refusal of that kind: a 201 or a 303 speaks of something else.
pub fn told_wait(reply: &RawReply, now: Timestamp) -> Option<Duration> {
    if !matches!(reply.status, 403 | 413 | 420 | 429 | 500..) {
        return None;
    }
    let there = server_time(reply, now);
    let values = reply.headers.get_all(RETRY_AFTER).iter().filter_map(|value| value.to_str().ok());
    let told = values.filter_map(|text| longest(text, there)).max();
    let spent = || match remaining(reply) {
        Some(0) => true,
        Some(_) => false,
        // ServiceNow tells the limit and the reset, and never what is left.
        None => reply.status == 429,
    };
    told.or_else(|| resets_in(reply, there).filter(|_| matches!(reply.status, 429 | 503) && spent()))
}

/// Reads the budget: `Sforce-Limit-Info`, else `X-RateLimit-*` or `RateLimit-*`.
pub fn quota(reply: &RawReply, now: Timestamp) -> Option<Quota> {
    let usage = reply.headers.get_all("sforce-limit-info").iter();
    let usage = usage.filter_map(|value| value.to_str().ok()).filter_map(usage_quota);
    usage.min_by_key(|quota| quota.remaining).or_else(|| {
        let limit =
            first_number(reply, ["x-ratelimit-limit", "ratelimit-limit"]).filter(|limit| *limit > 0)?;
        let remaining = remaining(reply)?.min(limit);
        Some(Quota { limit, remaining, resets_in: resets_in(reply, server_time(reply, now)) })
    })
}

/// Where a service tells its budget, in headers that have names of its own; those left out have the
/// common names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetHeaders {
    pub limit: Option<String>,
    pub remaining: Option<String>,
    /// When the budget begins anew, in any of the forms of [`retry_after`].
    pub reset: Option<String>,
    /// The same as a number of milliseconds.
    pub reset_ms: Option<String>,
}

impl BudgetHeaders {
    /// Puts what these headers tell in the place of what the common ones tell.
    #[must_use]
    pub fn overlay(&self, report: Report, reply: &RawReply, now: Timestamp) -> Report {
        let read = |name: &Option<String>| name.as_deref().and_then(|name| first_number(reply, [name, name]));
        let common = report.quota;
        let limit = read(&self.limit).or(common.map(|quota| quota.limit)).filter(|limit| *limit > 0);
        let remaining = read(&self.remaining).or_else(|| remaining(reply));
        let there = server_time(reply, now);
        let reset = self.reset.as_deref().and_then(|name| longest(reply.header(name)?, there));
        let reset_ms = read(&self.reset_ms).map(|ms| Duration::from_millis(ms).min(RETRY_AFTER_MAX));
        let resets_in = reset.or(reset_ms).or(common.and_then(|quota| quota.resets_in));
        let quota = limit.zip(remaining).map(|(limit, remaining)| Quota {
            limit,
            remaining: remaining.min(limit),
            resets_in,
        });
        let spent = reply.status == 429 && remaining.is_none_or(|left| left == 0);
        let retry_after = report.retry_after.or(resets_in.filter(|_| spent));
        Report { quota: quota.or(common), retry_after, ..report }
    }
}

/// Reads the body of Salesforce's `/limits`: the day's calls.
pub fn limits_quota(body: &[u8]) -> Option<Quota> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Limits {
        daily_api_requests: Limit,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Limit {
        max: u64,
        /// Below zero where a grace was used.
        remaining: i64,
    }
    let Limits { daily_api_requests: Limit { max, remaining } } = serde_json::from_slice(body).ok()?;
    let remaining = u64::try_from(remaining).unwrap_or(0).min(max);
    (max > 0).then_some(Quota { limit: max, remaining, resets_in: None })
}

/// Reads `api-usage=18/15000; per-app-api-usage=17/250(appName=x)`, whatever stands around it: the
/// one of which less is left. Bursts are no budget.
fn usage_quota(text: &str) -> Option<Quota> {
    let parts = text.split([';', ',']).filter_map(|part| {
        let part = part.trim();
        let usage = part.strip_prefix("api-usage=").or_else(|| part.strip_prefix("per-app-api-usage="))?;
        let (used, limit) = usage.split('(').next()?.split_once('/')?;
        let (used, limit): (u64, u64) = (used.trim().parse().ok()?, limit.trim().parse().ok()?);
        (limit > 0).then_some(Quota { limit, remaining: limit.saturating_sub(used), resets_in: None })
    });
    parts.min_by_key(|quota| quota.remaining)
}

fn remaining(reply: &RawReply) -> Option<u64> {
    first_number(reply, ["x-ratelimit-remaining", "ratelimit-remaining"])
}

/// Reads when the budget begins anew.
fn resets_in(reply: &RawReply, there: Timestamp) -> Option<Duration> {
    let text = ["x-ratelimit-reset", "ratelimit-reset"].into_iter().find_map(|name| reply.header(name))?;
    longest(text, there)
}

/// Reads a header's number; of several (`9999, 19988`, as Outreach sends them) the first counts.
fn first_number(reply: &RawReply, names: [&str; 2]) -> Option<u64> {
    let text = names.into_iter().find_map(|name| reply.header(name))?;
    text.split([',', ';']).next()?.trim().parse().ok()
}

/// Reads a wait; of several in one header the longest. A date has a comma of its own.
fn longest(text: &str, there: Timestamp) -> Option<Duration> {
    retry_after(text, there).or_else(|| text.split(',').filter_map(|part| retry_after(part, there)).max())
}

fn server_time(reply: &RawReply, now: Timestamp) -> Timestamp {
    reply.header(DATE.as_str()).and_then(parse_http_date).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T10:00:00Z, by our clock.
    const NOW: Timestamp = Timestamp(1_769_853_600_000);

    type Headers = &'static [(&'static str, &'static str)];
    /// Limit, remaining, seconds until the reset.
    type Told = (u64, u64, Option<u64>);

    fn reply(status: u16, headers: Headers) -> RawReply {
        let mut reply = RawReply { status, ..RawReply::default() };
        for (name, value) in headers {
            reply.headers.append(*name, value.parse().expect("a header"));
        }
        reply
    }

    #[test]
    fn a_wait_is_believed_in_all_its_forms_and_within_reason() {
        const AFTER: &str = "retry-after";
        const DAY: u64 = 86_400;
        // (status, headers, seconds, why)
        let cases: &[(u16, Headers, Option<u64>, &str)] = &[
            (429, &[(AFTER, "30")], Some(30), "seconds"),
            (503, &[(AFTER, "Sat, 31 Jan 2026 10:00:42 GMT")], Some(42), "a date"),
            (
                503,
                &[("date", "Sat, 31 Jan 2026 09:58:00 GMT"), (AFTER, "Sat, 31 Jan 2026 09:58:30 GMT")],
                Some(30),
                "a date by the server's clock, which is two minutes behind ours",
            ),
            (429, &[(AFTER, "Fri, 30 Jan 2026 10:00:00 GMT")], Some(0), "in the past: at once"),
            (429, &[(AFTER, "-7")], Some(0), "below zero: at once"),
            (429, &[(AFTER, "315360000")], Some(DAY), "ten years: a day"),
            (429, &[(AFTER, "Sat, 31 Jan 2099 10:00:00 GMT")], Some(DAY), "a date in years: a day"),
            (429, &[(AFTER, "soon")], None, "garbage"),
            (429, &[(AFTER, "")], None, "nothing"),
            (429, &[(AFTER, "5"), (AFTER, "60"), (AFTER, "soon")], Some(60), "several: the longest"),
            (429, &[(AFTER, "5, 60")], Some(60), "several in one"),
            (403, &[(AFTER, "9")], Some(9), "a limit told as 403"),
            (500, &[(AFTER, "9")], Some(9), "a failure that knows its end"),
            (202, &[(AFTER, "9")], None, "speaks of a job, not of the service"),
            (404, &[(AFTER, "9")], None, "no refusal for load"),
            (
                429,
                &[("x-ratelimit-limit", "100"), ("x-ratelimit-reset", "1769853645")],
                Some(45),
                "ServiceNow's reset",
            ),
            (
                429,
                &[(AFTER, "7"), ("x-ratelimit-reset", "45")],
                Some(7),
                "the plain word goes before the reset",
            ),
            (
                429,
                &[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "45")],
                None,
                "another limit than this one",
            ),
            (
                503,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "45")],
                Some(45),
                "Outreach, spent",
            ),
            (503, &[("x-ratelimit-reset", "45")], None, "down, and a reset that says nothing of it"),
        ];
        for (status, headers, seconds, why) in cases {
            let wait = told_wait(&reply(*status, headers), NOW).map(|wait| wait.as_secs());
            assert_eq!(wait, *seconds, "{why}: {status} {headers:?}");
        }
    }

    #[test]
    fn a_budget_is_read_in_every_services_words() {
        // (headers, (limit, remaining, resets in seconds), why)
        let cases: &[(Headers, Option<Told>, &str)] = &[
            (&[("sforce-limit-info", "api-usage=18/15000")], Some((15_000, 14_982, None)), "Salesforce"),
            (
                &[(
                    "sforce-limit-info",
                    "api-bursts=1/750; api-usage=20/15; per-app-api-usage=17/250(appName=x)",
                )],
                Some((15, 0, None)),
                "overdrawn, among others",
            ),
            (
                &[("sforce-limit-info", "api-usage=20/15000; per-app-api-usage=240/250(appName=x)")],
                Some((250, 10, None)),
                "the app's own limit is the stricter one",
            ),
            (&[("sforce-limit-info", "api-usage=many/15000")], None, "garbage"),
            (
                &[
                    ("x-ratelimit-limit", "10000"),
                    ("x-ratelimit-remaining", "9998"),
                    ("x-ratelimit-reset", "1769857200"),
                ],
                Some((10_000, 9_998, Some(3_600))),
                "Outreach, seconds since 1970",
            ),
            (
                &[
                    ("x-ratelimit-limit", "10000, 20000"),
                    ("x-ratelimit-remaining", "9999, 19988"),
                    ("x-ratelimit-reset", "60"),
                ],
                Some((10_000, 9_999, Some(60))),
                "two budgets: the first is the hour's",
            ),
            (
                &[("ratelimit-limit", "100"), ("ratelimit-remaining", "3"), ("ratelimit-reset", "soon")],
                Some((100, 3, None)),
                "the names of the IETF draft, a garbage reset",
            ),
            (
                &[
                    ("x-ratelimit-limit", "100"),
                    ("x-ratelimit-remaining", "500"),
                    ("x-ratelimit-reset", "99999999999"),
                ],
                Some((100, 100, Some(86_400))),
                "more left than there is, and a reset in the year 5138",
            ),
            (
                &[("x-ratelimit-limit", "100"), ("x-ratelimit-reset", "1769853645")],
                None,
                "ServiceNow: what is left is not told",
            ),
            (
                &[("x-ratelimit-limit", "0"), ("x-ratelimit-remaining", "0")],
                None,
                "a budget of nothing is no budget",
            ),
            (&[("x-ratelimit-limit", "-1"), ("x-ratelimit-remaining", "5")], None, "nor is one below that"),
            (&[], None, "nothing said"),
        ];
        for (headers, expected, why) in cases {
            let got = plain_report(&reply(200, headers), NOW).quota;
            let got = got.map(|it| (it.limit, it.remaining, it.resets_in.map(|wait| wait.as_secs())));
            assert_eq!(got, *expected, "{why}");
        }
    }

    #[test]
    fn a_budget_is_read_under_a_services_own_names() {
        let own = BudgetHeaders {
            limit: Some("x-hubspot-ratelimit-max".into()),
            remaining: Some("x-hubspot-ratelimit-remaining".into()),
            reset: None,
            reset_ms: Some("x-hubspot-ratelimit-interval-milliseconds".into()),
        };
        // (status, headers, (limit, remaining, resets in), wait, why)
        type Case = (u16, Headers, Option<Told>, Option<u64>, &'static str);
        let cases: &[Case] = &[
            (
                200,
                &[
                    ("x-hubspot-ratelimit-max", "190"),
                    ("x-hubspot-ratelimit-remaining", "188"),
                    ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
                ],
                Some((190, 188, Some(10))),
                None,
                "all told",
            ),
            (
                429,
                &[
                    ("x-hubspot-ratelimit-max", "190"),
                    ("x-hubspot-ratelimit-remaining", "0"),
                    ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
                ],
                Some((190, 0, Some(10))),
                Some(10),
                "spent, and no Retry-After: until the window is over",
            ),
            (429, &[("retry-after", "3")], None, Some(3), "the plain word goes first"),
            (
                200,
                &[("x-ratelimit-limit", "80"), ("x-ratelimit-remaining", "79")],
                Some((80, 79, None)),
                None,
                "the common names are still heard",
            ),
            (200, &[("x-hubspot-ratelimit-max", "many")], None, None, "garbage"),
        ];
        for (status, headers, quota, wait, why) in cases {
            let reply = reply(*status, headers);
            let report = own.overlay(plain_report(&reply, NOW), &reply, NOW);
            let told =
                report.quota.map(|it| (it.limit, it.remaining, it.resets_in.map(|wait| wait.as_secs())));
            assert_eq!((told, report.retry_after.map(|wait| wait.as_secs())), (*quota, *wait), "{why}");
        }
    }

    #[test]
    fn the_limits_page_tells_the_day() {
        // (body, (limit, remaining), why)
        let cases = [
            (
                r#"{"DailyApiRequests":{"Max":15000,"Remaining":14998},"X":{}}"#,
                Some((15_000, 14_998)),
                "among others",
            ),
            (r#"{"DailyApiRequests":{"Max":15000,"Remaining":-3}}"#, Some((15_000, 0)), "overdrawn"),
            (r#"{"DailyApiRequests":{"Max":0,"Remaining":0}}"#, None, "no limit at all"),
            (r#"{"DailyBulkApiBatches":{"Max":1,"Remaining":1}}"#, None, "not told"),
            ("<html>", None, "garbage"),
        ];
        for (body, expected, why) in cases {
            let got = limits_quota(body.as_bytes()).map(|quota| (quota.limit, quota.remaining));
            assert_eq!(got, expected, "{why}");
        }
    }
}
