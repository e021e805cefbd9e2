//! Values of conditions that are worked out: `javascript:gs.…()`.

use jiff::tz::TimeZone;

use crate::connectors::servicenow::wire::{FORM, format_moment};
use crate::engine::record::Timestamp;

const SCRIPT: &str = "javascript:";
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Who asks, when, and by which clock on the wall.
pub struct Asker {
    /// The `sys_id` of the user.
    pub user: String,
    pub now: Timestamp,
    pub zone: TimeZone,
}

impl Asker {
    /// Finds the user's time zone by its name; UTC where there is none such.
    pub fn new(user: String, zone: &str, now: Timestamp) -> Self {
        Self { user, now, zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC) }
    }

    /// Reads a plain moment of a condition by the user's clock; anything else stays what it is.
    fn in_utc(&self, text: String) -> String {
        let Ok(civil) = jiff::civil::DateTime::strptime(FORM, &text) else { return text };
        let zoned = self.zone.to_ambiguous_zoned(civil).compatible();
        zoned.map_or(text, |at| format_moment(Timestamp(at.timestamp().as_millisecond())))
    }

    /// Works the value of a moment out, in UTC.
    pub fn moment(&self, value: &str) -> Option<String> {
        let plain = !value.starts_with(SCRIPT) || value.contains("dateGenerate");
        let text = worked_out(value, self)?;
        Some(if plain { self.in_utc(text) } else { text })
    }
}

/// Works a value out: a plain one is itself, a call of one of the date functions its moment. A script that is
/// none of these has no value, and its condition is dropped.
pub fn worked_out(value: &str, asker: &Asker) -> Option<String> {
    let now = asker.now;
    let Some(script) = value.strip_prefix(SCRIPT) else { return Some(value.to_owned()) };
    let call = script.trim().trim_end_matches(';').strip_prefix("gs.")?;
    let (name, rest) = call.split_once('(')?;
    let arguments = rest.strip_suffix(')')?;
    let today = now.0.div_euclid(DAY_MS) * DAY_MS;
    let count = || arguments.trim().trim_matches(['\'', '"']).parse::<i64>().ok();
    let before = |unit: i64| Some(now.0.saturating_sub(count()?.checked_mul(unit)?));
    let at = match name {
        "dateGenerate" => return generated(arguments),
        "getUserID" => return Some(asker.user.clone()),
        "now" | "nowDateTime" => now.0,
        "beginningOfToday" => today,
        "endOfToday" => today + DAY_MS - 1,
        "beginningOfYesterday" => today - DAY_MS,
        "endOfYesterday" => today - 1,
        "daysAgoStart" => today.saturating_sub(count()?.checked_mul(DAY_MS)?),
        "daysAgoEnd" => today.saturating_sub(count()?.checked_mul(DAY_MS)?) + DAY_MS - 1,
        "daysAgo" => before(DAY_MS)?,
        "hoursAgo" | "hoursAgoStart" => before(HOUR_MS)?,
        "minutesAgo" | "minutesAgoStart" => before(MINUTE_MS)?,
        _ => return None,
    };
    Some(format_moment(Timestamp(at)))
}

/// Reads `'2024-01-31','10:00:00'`; `start` and `end` are a day's.
fn generated(arguments: &str) -> Option<String> {
    let (day, time) = arguments.split_once(',')?;
    let bare = |text: &str| text.trim().trim_matches(['\'', '"']).to_owned();
    let time = match bare(time).as_str() {
        "start" => "00:00:00".to_owned(),
        "end" => "23:59:59".to_owned(),
        time => time.to_owned(),
    };
    Some(format!("{} {time}", bare(day)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_functions_give_moments() {
        // 2025-03-01T09:15:00Z
        let asker = Asker::new("me".into(), "GMT", Timestamp(1_740_820_500_000));
        let cases = [
            ("2025-03-01 09:15:00", Some("2025-03-01 09:15:00")),
            ("javascript:gs.dateGenerate('2024-01-31','10:00:00')", Some("2024-01-31 10:00:00")),
            ("javascript:gs.dateGenerate(\"2024-01-31\", 'end')", Some("2024-01-31 23:59:59")),
            ("javascript:gs.beginningOfToday()", Some("2025-03-01 00:00:00")),
            ("javascript:gs.endOfToday()", Some("2025-03-01 23:59:59")),
            ("javascript:gs.daysAgoStart(1)", Some("2025-02-28 00:00:00")),
            ("javascript:gs.hoursAgo(2)", Some("2025-03-01 07:15:00")),
            ("javascript:gs.minutesAgoStart(15)", Some("2025-03-01 09:00:00")),
            ("javascript:gs.getUserID()", Some("me")),
            ("javascript:gs.log('x')", None),
            ("javascript:while(true);", None),
        ];
        for (value, expected) in cases {
            assert_eq!(worked_out(value, &asker).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_plain_moment_is_read_by_the_users_clock() {
        let cases = [
            ("GMT", "2025-03-01 09:15:00", "2025-03-01 09:15:00"),
            ("Europe/Berlin", "2025-03-01 09:15:00", "2025-03-01 08:15:00"),
            ("Europe/Berlin", "2025-07-01 09:15:00", "2025-07-01 07:15:00"),
            ("US/Pacific", "2025-03-01 09:15:00", "2025-03-01 17:15:00"),
            ("US/Pacific", "javascript:gs.dateGenerate('2025-03-01','09:15:00')", "2025-03-01 17:15:00"),
            ("US/Pacific", "javascript:gs.minutesAgo(0)", "2025-03-01 09:15:00"),
            ("Nowhere", "2025-03-01 09:15:00", "2025-03-01 09:15:00"),
            ("US/Pacific", "no moment", "no moment"),
        ];
        for (zone, value, expected) in cases {
            let asker = Asker::new("me".into(), zone, Timestamp(1_740_820_500_000));
            assert_eq!(asker.moment(value).as_deref(), Some(expected), "{zone} {value}");
        }
    }
}
