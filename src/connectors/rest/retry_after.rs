//! How long a service asks us to wait.

use std::time::Duration;

use crate::engine::record::Timestamp;

/// The longest wait that is believed: a day, the span of the longest quotas. Whatever a broken
/// clock or a typo asks for beyond that, a person would rather see another try.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Numbers above this are seconds since 1970, not a wait: as a wait it would be 31 years.
const EPOCH_SECONDS_MIN: f64 = 1e9;
/// And above this they are milliseconds since 1970.
const EPOCH_MILLIS_MIN: f64 = 1e12;

/// Reads the value of `Retry-After` or of one of its cousins (`X-RateLimit-Reset`): seconds, an
/// HTTP date (RFC 9110 §5.6.7), an RFC 3339 date, or seconds or milliseconds since 1970.
///
/// `now` is the moment at the server where its `Date` header tells it, so that a wrong clock on
/// either side does not change the wait. A moment in the past means at once; the wait never
/// exceeds [`RETRY_AFTER_MAX`]. `None` where the text is none of these.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        Ok(number) if !number.is_finite() => return None,
        Ok(number) if number >= EPOCH_MILLIS_MIN => until(Timestamp(number as i64), now),
        Ok(number) if number >= EPOCH_SECONDS_MIN => until(Timestamp((number * 1000.0) as i64), now),
        Ok(number) => Duration::from_secs_f64(number.clamp(0.0, RETRY_AFTER_MAX.as_secs_f64())),
        Err(_) => until(parse_http_date(text).or_else(|| Timestamp::parse_rfc3339(text))?, now),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Reads an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT`; a wrong day of the week is forgiven.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    parser.parse_timestamp(text.trim()).ok().map(|at| Timestamp(at.as_millisecond()))
}

fn until(then: Timestamp, now: Timestamp) -> Duration {
    then.since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_every_form_that_services_use() {
        // 2026-01-31T10:00:00Z
        let now = Timestamp(1_769_853_600_000);
        // (text, seconds, why)
        let cases = [
            ("0", Some(0.0), "at once"),
            ("30", Some(30.0), "whole seconds, the common form"),
            (" 30 ", Some(30.0), "spaces around"),
            ("1.5", Some(1.5), "some send decimals"),
            ("-5", Some(0.0), "negative: already over"),
            ("999999", Some(86_400.0), "absurdly long: a day"),
            ("Sat, 31 Jan 2026 10:00:42 GMT", Some(42.0), "HTTP date"),
            ("Mon, 31 Jan 2026 10:00:42 GMT", Some(42.0), "HTTP date with the wrong day"),
            ("Sat, 31 Jan 2026 09:00:00 GMT", Some(0.0), "a date in the past"),
            ("2026-01-31T10:00:10Z", Some(10.0), "RFC 3339"),
            ("2026-01-31T11:00:10+01:00", Some(10.0), "RFC 3339 with an offset"),
            ("1769853607", Some(7.0), "seconds since 1970"),
            ("1769853607500", Some(7.5), "milliseconds since 1970"),
            ("1500000000", Some(0.0), "seconds since 1970, long ago"),
            ("99999999999", Some(86_400.0), "seconds since 1970, in the year 5138"),
            ("", None, "nothing"),
            ("soon", None, "words"),
            ("NaN", None, "not a number"),
            ("inf", None, "nor endless"),
        ];
        for (text, seconds, why) in cases {
            assert_eq!(retry_after(text, now).map(|wait| wait.as_secs_f64()), seconds, "{why}: {text:?}");
        }
    }
}
