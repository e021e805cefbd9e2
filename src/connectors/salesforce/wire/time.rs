//! Moments as Salesforce writes them: whole seconds, three zeros, an offset without a colon.

use crate::engine::record::Timestamp;

/// Reads any of the forms that Salesforce writes or takes: 0 to 6 fraction digits, `Z`, `+0000` or
/// `+00:00`.
pub fn parse_datetime(text: &str) -> Option<Timestamp> {
    if !text.contains(['T', 't']) {
        return None;
    }
    Timestamp::parse_rfc3339(text)
}

/// Writes the form that stands in records: `2024-09-09T20:41:31.000+0000`.
pub fn format_datetime(at: Timestamp) -> String {
    written(at, "%Y-%m-%dT%H:%M:%S.000+0000")
}

/// Writes the form that stands in SOQL, without quotes: `2024-09-09T20:41:31Z`.
pub fn soql_datetime(at: Timestamp) -> String {
    written(at, "%Y-%m-%dT%H:%M:%SZ")
}

fn written(at: Timestamp, form: &str) -> String {
    // Beyond the year 9999 there are no records; the first moment is as good as any.
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1000)).unwrap_or_default();
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_in_the_wild_is_the_same_moment() {
        let at = Timestamp(1_725_914_491_000);
        for text in [
            "2024-09-09T20:41:31.000+0000",
            "2024-09-09T20:41:31Z",
            "2024-09-09T20:41:31.000Z",
            "2024-09-09T20:41:31.000000Z",
            "2024-09-09T20:41:31.000+00:00",
            "2024-09-09T22:41:31+02:00",
        ] {
            assert_eq!(parse_datetime(text), Some(at), "{text}");
        }
        assert_eq!(format_datetime(Timestamp(at.0 + 999)), "2024-09-09T20:41:31.000+0000");
        assert_eq!(soql_datetime(at), "2024-09-09T20:41:31Z");
        assert_eq!(parse_datetime("2024-09-09"), None, "a date is no moment");
    }
}
