//! Time stamps as tables keep them: whole or broken seconds, milliseconds, Julian days, ISO text.
//!
//! Text stamps have to sort as time does: one form and one zone in a column.

use std::time::Duration;

use jiff::civil::DateTime;

use super::cell::Cell;
use crate::engine::record::Timestamp;

/// Smaller numbers are counters rather than seconds since 1970 (this one is in 1973).
const SECONDS_MIN: f64 = 1e8;
const MILLIS_MIN: f64 = 1e11;
const MICROS_MIN: f64 = 1e14;
const NANOS_MIN: f64 = 1e17;
/// The Julian day of 1970-01-01T00:00Z, and the range in which a number is taken for one.
const JULIAN_EPOCH: f64 = 2_440_587.5;
const JULIAN_DAYS: std::ops::Range<f64> = 2_400_000.0..2_500_000.0;

/// What a number counts; told by its size.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// So many units are one second.
    PerSecond(f64),
    JulianDays,
    /// No time at all, a version counter perhaps.
    Counter,
}

fn unit(number: f64, real: bool) -> Unit {
    let size = number.abs();
    match size {
        _ if real && JULIAN_DAYS.contains(&size) => Unit::JulianDays,
        _ if size < SECONDS_MIN => Unit::Counter,
        _ if size < MILLIS_MIN => Unit::PerSecond(1.0),
        _ if size < MICROS_MIN => Unit::PerSecond(1e3),
        _ if size < NANOS_MIN => Unit::PerSecond(1e6),
        _ => Unit::PerSecond(1e9),
    }
}

/// Reads a stamp; `None` where it is no time.
pub(super) fn moment(cell: &Cell) -> Option<Timestamp> {
    let of_number = |number: f64, real| match unit(number, real) {
        Unit::PerSecond(units) => Some(Timestamp((number * 1e3 / units).floor() as i64)),
        Unit::JulianDays => Some(Timestamp(((number - JULIAN_EPOCH) * 86_400e3).round() as i64)),
        Unit::Counter => None,
    };
    match cell {
        Cell::Int(int) => match unit(*int as f64, false) {
            // Exact, where a float would round.
            Unit::PerSecond(1e3) => Some(Timestamp(*int)),
            _ => of_number(*int as f64, false),
        },
        Cell::Real(bits) => of_number(f64::from_bits(*bits), true),
        Cell::Text(text) => {
            if let Some(at) = Timestamp::parse_rfc3339(text) {
                return Some(at);
            }
            let at = civil(text)?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(Timestamp(at.timestamp().as_millisecond()))
        }
        Cell::Null | Cell::Blob(_) | Cell::RawText(_) => None,
    }
}

/// Returns a stamp of the same form that sorts before everything of `by` before `cell`. A stamp that
/// is no time is its own limit.
pub(super) fn earlier(cell: &Cell, by: Duration) -> Cell {
    let seconds = by.as_secs_f64();
    match cell {
        Cell::Int(int) => {
            let back = match unit(*int as f64, false) {
                Unit::PerSecond(units) => seconds * units,
                Unit::JulianDays | Unit::Counter => seconds,
            };
            Cell::Int(int.saturating_sub(back.ceil() as i64))
        }
        Cell::Real(bits) => {
            let number = f64::from_bits(*bits);
            let back = match unit(number, true) {
                Unit::PerSecond(units) => seconds * units,
                Unit::JulianDays => (seconds + 1.0) / 86_400.0,
                Unit::Counter => seconds,
            };
            Cell::Real((number - back).to_bits())
        }
        Cell::Text(text) => {
            shifted_text(text, -(by.as_secs() as i64)).map_or_else(|| cell.clone(), Cell::Text)
        }
        other => other.clone(),
    }
}

/// Returns a stamp of the form of `like` for a moment; `None` where the form is no time.
pub(super) fn at_moment(like: &Cell, at: Timestamp) -> Option<Cell> {
    let millis = at.0 as f64;
    match like {
        Cell::Int(int) => match unit(*int as f64, false) {
            Unit::PerSecond(units) => Some(Cell::Int((millis / 1e3 * units) as i64)),
            Unit::JulianDays | Unit::Counter => None,
        },
        Cell::Real(bits) => match unit(f64::from_bits(*bits), true) {
            Unit::PerSecond(units) => Some(Cell::Real((millis / 1e3 * units).to_bits())),
            Unit::JulianDays => Some(Cell::Real((millis / 86_400e3 + JULIAN_EPOCH).to_bits())),
            Unit::Counter => None,
        },
        Cell::Text(text) => {
            civil(text)?;
            let at =
                jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(jiff::tz::TimeZone::UTC).datetime();
            Some(Cell::Text(written_like(text, at)))
        }
        _ => None,
    }
}

/// Returns the SQL for the present moment in the form of the stamps that stand in a column; without
/// one, in the form of SQLite's own CURRENT_TIMESTAMP. `whole`: the column keeps whole numbers.
pub(super) fn now_sql(like: Option<&Cell>, whole: bool) -> &'static str {
    match like {
        Some(Cell::Int(int)) => match unit(*int as f64, false) {
            Unit::PerSecond(1e3) => "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
            Unit::PerSecond(1e6) => {
                "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000"
            }
            Unit::PerSecond(1e9) => {
                "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000000"
            }
            _ => "unixepoch('now')",
        },
        Some(Cell::Real(bits)) => match unit(f64::from_bits(*bits), true) {
            Unit::JulianDays => "julianday('now')",
            _ => "unixepoch('now', 'subsec')",
        },
        Some(Cell::Text(text)) => {
            let fraction = text.as_bytes().get(19) == Some(&b'.');
            match (text.as_bytes().get(10), text.ends_with('Z'), fraction) {
                (Some(b'T'), true, true) => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
                (Some(b'T'), true, false) => "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')",
                (Some(b'T'), false, true) => "strftime('%Y-%m-%dT%H:%M:%f', 'now')",
                (Some(b'T'), false, false) => "strftime('%Y-%m-%dT%H:%M:%S', 'now')",
                (_, true, true) => "strftime('%Y-%m-%d %H:%M:%fZ', 'now')",
                (_, true, false) => "strftime('%Y-%m-%d %H:%M:%SZ', 'now')",
                (_, false, true) => "strftime('%Y-%m-%d %H:%M:%f', 'now')",
                (_, false, false) => "strftime('%Y-%m-%d %H:%M:%S', 'now')",
            }
        }
        _ if whole => "unixepoch('now')",
        _ => "strftime('%Y-%m-%d %H:%M:%S', 'now')",
    }
}

/// Reads date and time of day as they stand, whatever the zone.
fn civil(text: &str) -> Option<DateTime> {
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    match text.get(..19) {
        Some(seconds) => {
            let whole: DateTime = seconds.parse().ok()?;
            // A fraction counts, a zone does not.
            let rest = text.get(19..).unwrap_or("");
            let fraction: &str = rest
                .strip_prefix('.')
                .map_or("", |rest| rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or(""));
            let nanos: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
            whole.with().subsec_nanosecond(nanos.parse().ok()?).build().ok()
        }
        None => text.parse().ok(),
    }
}

fn shifted_text(text: &str, seconds: i64) -> Option<String> {
    let at = civil(text)?.checked_add(jiff::Span::new().try_seconds(seconds).ok()?).ok()?;
    Some(written_like(text, at))
}

/// Writes whole seconds with the sample's separator and no zone: that sorts before all of the
/// same second that have one.
fn written_like(text: &str, at: DateTime) -> String {
    match text.as_bytes().get(10) {
        Some(b'T') => at.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        Some(_) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => at.strftime("%Y-%m-%d").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(number: f64) -> Cell {
        Cell::Real(number.to_bits())
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn stamps_of_every_form_name_their_moment() {
        let at = |text| Timestamp::parse_rfc3339(text);
        // (stamp, moment, why)
        let cases = [
            (Cell::Int(1_767_225_600), at("2026-01-01T00:00:00Z"), "whole seconds"),
            (Cell::Int(1_767_225_600_123), at("2026-01-01T00:00:00.123Z"), "milliseconds"),
            (Cell::Int(1_767_225_600_123_456), at("2026-01-01T00:00:00.123Z"), "microseconds"),
            (real(1_767_225_600.5), at("2026-01-01T00:00:00.5Z"), "broken seconds"),
            (real(2_461_041.5), at("2026-01-01T00:00:00Z"), "julianday()"),
            (text("2026-01-01T02:00:00+02:00"), at("2026-01-01T00:00:00Z"), "RFC 3339"),
            (text("2026-01-01T00:00:00.25"), at("2026-01-01T00:00:00.25Z"), "no zone is UTC"),
            (text("2026-01-01 00:00:00"), at("2026-01-01T00:00:00Z"), "CURRENT_TIMESTAMP"),
            (text("2026-01-01 10:30"), at("2026-01-01T10:30:00Z"), "minutes"),
            (text("2026-01-01"), at("2026-01-01T00:00:00Z"), "a day"),
            (Cell::Int(42), None, "a counter"),
            (text("v42"), None, "some other order"),
            (text("1767225600"), None, "digits in a text column may be anything"),
            (Cell::Null, None, "nothing"),
        ];
        for (cell, expected, why) in cases {
            assert_eq!(moment(&cell), expected, "{why}: {cell:?}");
        }
    }

    #[test]
    fn the_limit_of_the_overlap_sorts_before_what_it_takes_in() {
        // (newest, limit 5 s before, why)
        let cases = [
            (Cell::Int(1_767_225_600), Cell::Int(1_767_225_595), "seconds"),
            (Cell::Int(1_767_225_600_000), Cell::Int(1_767_225_595_000), "milliseconds"),
            (Cell::Int(42), Cell::Int(37), "a counter goes back as many"),
            (real(1_767_225_600.5), real(1_767_225_595.5), "broken seconds"),
            (text("2026-01-01T00:00:02.500Z"), text("2025-12-31T23:59:57"), "no zone sorts first"),
            (text("2026-01-01 00:00:02"), text("2025-12-31 23:59:57"), "with a space"),
            (text("2026-01-01"), text("2025-12-31"), "days"),
            (text("v42"), text("v42"), "what is no time is its own limit"),
        ];
        for (cell, expected, why) in cases {
            assert_eq!(earlier(&cell, Duration::from_secs(5)), expected, "{why}");
        }
    }

    #[test]
    fn our_own_stamps_look_like_those_that_stand_there() {
        let conn = rusqlite::Connection::open_in_memory().expect("a database");
        let samples = [
            Cell::Int(1_767_225_600),
            Cell::Int(1_767_225_600_123),
            Cell::Int(1_767_225_600_123_456),
            real(1_767_225_600.5),
            real(2_461_041.5),
            text("2026-01-01T00:00:00.250Z"),
            text("2026-01-01T00:00:00Z"),
            text("2026-01-01T00:00:00"),
            text("2026-01-01 00:00:00"),
            text("2026-01-01 00:00:00.123"),
        ];
        for sample in samples {
            let sql = format!("SELECT {}", now_sql(Some(&sample), false));
            let made: Cell =
                conn.query_row(&sql, [], |row| Ok(Cell::from(row.get_ref(0)?))).expect("a stamp");
            let (then, now) = (moment(&sample).expect("a time"), moment(&made).expect("a time"));
            assert!(now > then, "{sample:?} {made:?}");
            if let (Cell::Text(sample), Cell::Text(made)) = (&sample, &made) {
                assert_eq!(sample.len(), made.len(), "{sample} {made}");
            }
        }
    }
}
