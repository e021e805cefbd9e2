//! Date literals by name.

use crate::engine::record::Timestamp;

/// Gives the days that a named literal means, in UTC; weeks begin on Sundays.
pub fn named_days(name: &str, number: i64, now: Timestamp) -> (jiff::civil::Date, jiff::civil::Date) {
    let now = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let number = number.clamp(0, 100_000);
    let plus = |day: jiff::civil::Date, days: i64| day.saturating_add(jiff::Span::new().days(days));
    let week = plus(today, -i64::from(today.weekday().to_sunday_zero_offset()));
    let month = today.first_of_month();
    let year = today.first_of_year();
    let a_month = jiff::Span::new().months(1);
    let a_year = jiff::Span::new().years(1);
    match name {
        "YESTERDAY" => (plus(today, -1), today),
        "TOMORROW" => (plus(today, 1), plus(today, 2)),
        "LAST_N_DAYS" => (plus(today, -number), plus(today, 1)),
        "NEXT_N_DAYS" => (plus(today, 1), plus(today, 1 + number)),
        "THIS_WEEK" => (week, plus(week, 7)),
        "LAST_WEEK" => (plus(week, -7), week),
        "THIS_MONTH" => (month, month.saturating_add(a_month)),
        "LAST_MONTH" => (month.saturating_sub(a_month), month),
        "THIS_YEAR" => (year, year.saturating_add(a_year)),
        "LAST_YEAR" => (year.saturating_sub(a_year), year),
        _ => (today, plus(today, 1)),
    }
}
