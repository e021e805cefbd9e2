//! Moments as services write them.

use serde::Deserialize;

use crate::engine::record::{Timestamp, Value};

/// How a service writes a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StampFormat {
    /// `2026-01-31T10:00:00.000Z`, whatever the offset and the digits.
    #[default]
    Rfc3339,
    /// The same, written without a fraction.
    Rfc3339Seconds,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// A pattern of `strftime`, in UTC where it names no offset.
    Pattern(String),
}

impl TryFrom<String> for StampFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "rfc3339" => Ok(Self::Rfc3339),
            "rfc3339_seconds" => Ok(Self::Rfc3339Seconds),
            "epoch_seconds" => Ok(Self::Seconds),
            "epoch_millis" => Ok(Self::Millis),
            pattern if pattern.contains('%') => {
                let format = Self::Pattern(text.clone());
                // A moment with a fraction: all that a pattern can keep.
                let probe = Timestamp(1_769_853_645_000);
                let there_and_back = format.write(probe).and_then(|written| format.read_text(&written));
                match there_and_back {
                    Some(back) if back == probe => Ok(format),
                    _ => Err(format!(
                        "the pattern {text:?} loses part of a moment; name the date and the time to the second, \
                         such as \"%Y-%m-%d %H:%M:%S\""
                    )),
                }
            }
            _ => Err(format!(
                "{text:?} is no format of a stamp; write rfc3339, rfc3339_seconds, epoch_seconds, epoch_millis or a \
                 pattern such as \"%Y-%m-%d %H:%M:%S\""
            )),
        }
    }
}

impl StampFormat {
    /// Reads a moment out of a field.
    pub fn read(&self, value: &Value) -> Option<Timestamp> {
        match value {
            Value::Text(text) => self.read_text(text),
            Value::Int(_) | Value::Number(_) => self.read_text(&value.to_plain()?),
            _ => None,
        }
    }

    /// Reads a moment.
    pub fn read_text(&self, text: &str) -> Option<Timestamp> {
        let text = text.trim();
        match self {
            Self::Rfc3339 | Self::Rfc3339Seconds => Timestamp::parse_rfc3339(text),
            Self::Seconds => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                let whole: i64 = whole.parse().ok()?;
                let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
                let fraction: i64 = fraction.parse().ok()?;
                let millis = whole.checked_mul(1000)?;
                Some(Timestamp(if text.starts_with('-') { millis - fraction } else { millis + fraction }))
            }
            Self::Millis => text.split('.').next()?.parse().ok().map(Timestamp),
            Self::Pattern(pattern) => {
                let read = jiff::fmt::strtime::parse(pattern, text).ok()?;
                let at = match read.to_timestamp() {
                    Ok(at) => at,
                    Err(_) => read.to_datetime().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
                };
                Some(Timestamp(at.as_millisecond()))
            }
        }
    }

    /// Returns the finest step that is written, in milliseconds.
    pub fn grain_ms(&self) -> i64 {
        match self {
            Self::Rfc3339 | Self::Millis => 1,
            Self::Pattern(pattern) if pattern.contains("%f") || pattern.contains("%.") => 1,
            Self::Rfc3339Seconds | Self::Seconds | Self::Pattern(_) => 1000,
        }
    }

    /// Writes a moment, rounded down to the grain; `None` beyond the years that a calendar has.
    pub fn write(&self, at: Timestamp) -> Option<String> {
        let at = Timestamp(at.0.div_euclid(self.grain_ms()).saturating_mul(self.grain_ms()));
        let moment = jiff::Timestamp::from_millisecond(at.0).ok()?;
        match self {
            Self::Rfc3339 => Some(at.to_string()),
            Self::Rfc3339Seconds => Some(moment.to_string()),
            Self::Seconds => Some(at.0.div_euclid(1000).to_string()),
            Self::Millis => Some(at.0.to_string()),
            Self::Pattern(pattern) => jiff::fmt::strtime::format(pattern, moment).ok(),
        }
    }

    /// Returns the moment as a value of JSON: a number where the format is one.
    pub fn value(&self, at: Timestamp) -> Value {
        match self {
            Self::Seconds => Value::Int(at.0.div_euclid(1000)),
            Self::Millis => Value::Int(at.0),
            _ => self.write(at).map_or(Value::Null, Value::text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written_in_every_form() {
        // 2026-01-31T10:00:45.678Z
        let at = 1_769_853_645_678;
        // (format, written, read back, why)
        let cases = [
            ("rfc3339", "2026-01-31T10:00:45.678Z", at, "to the millisecond"),
            ("rfc3339_seconds", "2026-01-31T10:00:45Z", at - 678, "for services that take no fraction"),
            ("epoch_seconds", "1769853645", at - 678, "a number"),
            ("epoch_millis", "1769853645678", at, "a longer one"),
            ("%Y-%m-%d %H:%M:%S", "2026-01-31 10:00:45", at - 678, "without a zone: UTC"),
            ("%Y%m%d%H%M%S", "20260131100045", at - 678, "packed"),
        ];
        for (name, written, back, why) in cases {
            let format = StampFormat::try_from(name.to_owned()).expect("a format");
            assert_eq!(format.write(Timestamp(at)).as_deref(), Some(written), "{why}");
            assert_eq!(format.read_text(written), Some(Timestamp(back)), "{why}");
        }
        let seconds = StampFormat::Seconds;
        assert_eq!(seconds.read_text("1769853645.6789"), Some(Timestamp(at)), "a fraction");
        assert_eq!(StampFormat::Rfc3339.read_text("2026-01-31T12:00:45+02:00"), Some(Timestamp(at - 678)));
        assert_eq!(StampFormat::Rfc3339.read_text("yesterday"), None);
        for wrong in ["iso", "%Y-%m-%d", "%H:%M:%S", "%Q"] {
            assert!(StampFormat::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
