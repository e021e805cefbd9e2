//! Dates and moments in their one ISO form.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::convert::describe;
use crate::engine::record::Value;

/// Gives `2026-01-31`. Understands ISO dates and moments (the day as written), `20260131`,
/// `31.01.2026`, `2026/01/31`, and slashes where only one reading is possible; all else needs a
/// format as `strftime` writes it.
pub(super) fn to_date(value: Value, format: Option<&str>) -> Result<Value, String> {
    let Value::Text(text) = &value else { return Err(format!("{} is no date", describe(&value))) };
    let text = text.trim();
    let date = match format {
        Some(format) => Date::strptime(format, text).ok(),
        None => read_date(text)?,
    };
    match date {
        Some(date) => Ok(Value::text(date.to_string())),
        None => Err(format!("{} is no date", describe(&value))),
    }
}

fn read_date(text: &str) -> Result<Option<Date>, String> {
    if let Ok(date) = text.parse::<Date>() {
        return Ok(Some(date));
    }
    if let Ok(moment) = text.parse::<DateTime>() {
        return Ok(Some(moment.date()));
    }
    let parts: Vec<&str> = text.split(['/', '.']).collect();
    let &[first, second, third] = parts.as_slice() else { return Ok(None) };
    let number = |part: &str| part.parse::<i16>().ok().filter(|_| part.len() <= 4);
    let (Some(x), Some(y), Some(z)) = (number(first), number(second), number(third)) else { return Ok(None) };
    let (year, month, day) = match (first.len(), third.len()) {
        (4, _) => (x, y, z),
        (_, 4) if text.contains('.') || x > 12 => (z, y, x),
        (_, 4) if y > 12 || x == y => (z, x, y),
        (_, 4) => {
            return Err(
                "the day and the month can't be told apart; use date(%d/%m/%Y) or date(%m/%d/%Y)".into()
            );
        }
        _ => return Ok(None),
    };
    let small = |part: i16| i8::try_from(part).unwrap_or(0);
    Ok(Date::new(year, small(month), small(day)).ok())
}

/// Gives `2026-01-31T10:00:00Z`. A moment without a zone is taken as UTC, as SQLite and most
/// services mean it.
pub(super) fn to_datetime(value: Value) -> Result<Value, String> {
    let Value::Text(text) = &value else { return Err(format!("{} is no date with time", describe(&value))) };
    let text = text.trim();
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        // Salesforce writes its offset without a colon: 2026-01-31T10:00:00.000+0000.
        let with_offset = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?;
        with_offset.to_timestamp().ok()
    });
    let moment = moment
        .or_else(|| text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp()));
    match moment {
        Some(moment) => Ok(Value::text(moment.to_string())),
        None => Err(format!("{} is no date with time", describe(&value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_one_form_or_are_refused() {
        // (text, format, date or nothing, why)
        let cases = [
            ("2026-01-31", None, Some("2026-01-31"), "ISO"),
            ("20260131", None, Some("2026-01-31"), "ISO without hyphens"),
            ("2026-01-31T23:30:00-05:00", None, Some("2026-01-31"), "the day as written"),
            ("2026-01-31 10:00:00", None, Some("2026-01-31"), "SQLite"),
            ("31.1.2026", None, Some("2026-01-31"), "dots are day first everywhere"),
            ("1/31/2026", None, Some("2026-01-31"), "there is no month 31"),
            ("31/1/2026", None, Some("2026-01-31"), "nor here"),
            ("1/2/2026", None, None, "January or February?"),
            ("1/2/2026", Some("%d/%m/%Y"), Some("2026-02-01"), "now it is said"),
            ("2026-02-30", None, None, "no such day"),
            ("31/31/2026", None, None, "no such month"),
            ("soon", None, None, "no date"),
            ("", None, None, "nothing"),
        ];
        for (text, format, expected, why) in cases {
            let made = to_date(Value::text(text), format);
            assert_eq!(made.clone().ok(), expected.map(Value::text), "{why}: {made:?}");
        }
    }

    #[test]
    fn moments_are_utc() {
        // (text, moment or nothing, why)
        let cases = [
            ("2026-01-31T10:00:00+02:00", Some("2026-01-31T08:00:00Z"), "zone"),
            ("2026-01-31T10:00:00.123456Z", Some("2026-01-31T10:00:00.123456Z"), "no digit lost"),
            ("2026-01-31 10:00:00", Some("2026-01-31T10:00:00Z"), "SQLite's CURRENT_TIMESTAMP"),
            ("2026-01-31T10:00:00.000+0000", Some("2026-01-31T10:00:00Z"), "Salesforce"),
            ("2026-01-31", Some("2026-01-31T00:00:00Z"), "midnight"),
            ("10:00", None, "no day"),
        ];
        for (text, expected, why) in cases {
            let made = to_datetime(Value::text(text));
            assert_eq!(made.clone().ok(), expected.map(Value::text), "{why}: {made:?}");
        }
    }
}
