//! One event, one line: flat JSON with fixed keys in a fixed order, or a line for people.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::Clock;

/// The keys that stand first, in this order, where they apply; others follow as they come.
const FIRST_KEYS: &[&str] = &[
    "customer",
    "link",
    "direction",
    "key",
    "job_id",
    "attempt",
    "correlation_id",
    "rules_version",
    "duration_ms",
    "error",
];

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Json,
    Human,
}

/// Writes each event as one line, with the fields of the spans around it.
pub(super) struct Lines {
    writer: NonBlocking,
    shape: Shape,
    clock: Clock,
}

impl Lines {
    pub fn new(writer: NonBlocking, shape: Shape, clock: Clock) -> Self {
        Self { writer, shape, clock }
    }
}

/// Named values; a later one replaces an earlier one of the same name.
#[derive(Clone, Debug, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinite numbers; their text says more than null.
        let value = serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::from);
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        self.put(field.name(), text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }
}

/// The fields of a span, shared by all layers.
struct SpanFields(Fields);

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        // The other layer may have been here; its copy says the same.
        if extensions.get_mut::<SpanFields>().is_none() {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            extensions.insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(outer)) = span.extensions().get() {
                for (name, value) in &outer.0 {
                    fields.put(name, value.clone());
                }
            }
        }
        event.record(&mut fields);
        let now = (self.clock)().to_string();
        let metadata = event.metadata();
        let mut line = match self.shape {
            Shape::Json => json_line(&now, *metadata.level(), metadata.target(), fields),
            Shape::Human => human_line(&now, *metadata.level(), metadata.target(), fields),
        };
        line.push('\n');
        // A full queue counts the line as dropped; nothing else can fail here.
        let _ = self.writer.clone().write_all(line.as_bytes());
    }
}

/// Splits a line's fields: event name, message, the rest in its order.
fn parts(target: &str, mut fields: Fields) -> (Value, Value, Vec<(&'static str, Value)>) {
    let event = fields.take("event");
    let message = fields.take("message").unwrap_or_else(|| Value::from(""));
    let mut rest = Vec::with_capacity(fields.0.len() + 1);
    for name in FIRST_KEYS {
        if let Some(value) = fields.take(name) {
            rest.push((*name, value));
        }
    }
    // The fixed keys are the line's own.
    fields.0.retain(|(name, _)| !matches!(*name, "timestamp" | "level"));
    rest.append(&mut fields.0);
    let event = event.unwrap_or_else(|| {
        // A library's event has no name of ours; its module says whose it is.
        rest.push(("target", Value::from(target)));
        Value::from("log")
    });
    (event, message, rest)
}

fn json_line(now: &str, level: Level, target: &str, fields: Fields) -> String {
    let (event, message, rest) = parts(target, fields);
    let level = level.as_str().to_lowercase();
    let mut line =
        format!("{{\"timestamp\":\"{now}\",\"level\":\"{level}\",\"event\":{event},\"message\":{message}");
    for (name, value) in rest {
        let _ = write!(line, ",{}:{value}", Value::from(name));
    }
    line.push('}');
    line
}

fn human_line(now: &str, level: Level, target: &str, fields: Fields) -> String {
    let (event, message, rest) = parts(target, fields);
    let colour = match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        _ => "\u{1b}[2m",
    };
    let time = now.get(11..19).unwrap_or(now);
    let mut line = format!("{time} {colour}{level:<5}\u{1b}[0m {}", plain(&event));
    if message != "" {
        let _ = write!(line, " {}", plain(&message));
    }
    if !rest.is_empty() {
        line.push_str("\u{1b}[2m");
        for (name, value) in &rest {
            let _ = write!(line, " {name}={}", plain(value));
        }
        line.push_str("\u{1b}[0m");
    }
    line
}

/// Shows a value for people: text as it is, control characters escaped, so that no outside text
/// plays with the terminal.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            text.chars().map(shown).collect()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let mut fields = Fields::default();
        fields.put("error", "a \"quoted\"\nreason".into());
        fields.put("extra", 1.into());
        fields.put("customer", "surya".into());
        fields.put("event", "job.delivered".into());
        fields.put("level", "no".into());
        fields.put("message", "delivered".into());
        fields
    }

    #[test]
    fn json_lines_are_flat_and_ordered() {
        assert_eq!(
            json_line("2026-01-31T10:00:00.000Z", Level::INFO, "x", fields()),
            r#"{"timestamp":"2026-01-31T10:00:00.000Z","level":"info","event":"job.delivered","message":"delivered","customer":"surya","error":"a \"quoted\"\nreason","extra":1}"#
        );
        assert_eq!(
            json_line("t", Level::WARN, "hyper::client", Fields::default()),
            r#"{"timestamp":"t","level":"warn","event":"log","message":"","target":"hyper::client"}"#,
            "a library's event"
        );
    }

    #[test]
    fn human_lines_stay_on_one_line() {
        let line = human_line("2026-01-31T10:00:00.000Z", Level::INFO, "x", fields());
        assert!(line.starts_with("10:00:00 \u{1b}[32mINFO \u{1b}[0m job.delivered delivered"), "{line}");
        assert!(line.contains("error=a \"quoted\"\\nreason extra=1"), "{line}");
    }
}
