//! Moments as ServiceNow writes them: `2025-03-01 09:15:00`, UTC, whole seconds.

use crate::engine::record::Timestamp;

/// How a moment is written, as `strftime` has it.
pub const FORM: &str = "%Y-%m-%d %H:%M:%S";

/// Reads a moment in the service's form.
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    let at = jiff::civil::DateTime::strptime(FORM, text).ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(at.timestamp().as_millisecond()))
}

/// Writes a moment in the service's form; parts of a second are cut off.
pub fn format_moment(at: Timestamp) -> String {
    // Beyond the year 9999 there are no records; the first moment is as good as any.
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1000)).unwrap_or_default();
    at.strftime(FORM).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_utc_and_whole_seconds() {
        let at = Timestamp(1_740_820_500_000);
        assert_eq!(parse_moment("2025-03-01 09:15:00"), Some(at));
        assert_eq!(format_moment(Timestamp(at.0 + 999)), "2025-03-01 09:15:00");
        assert_eq!(format_moment(Timestamp(-1)), "1969-12-31 23:59:59", "before the first moment");
        for text in ["", "2025-03-01", "2025-03-01T09:15:00Z", "01.03.2025 09:15:00", "2025-02-30 00:00:00"] {
            assert_eq!(parse_moment(text), None, "{text:?}");
        }
    }
}
