//! `[….links.NAME]`: two streams kept in step.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value};

use super::fields::Fields;
use super::problem::nearest;
use super::service::as_usize;
use super::system::SystemConfig;
use super::tuning::{BATCH_SIZES, FLUSH_INTERVALS};
use crate::engine::rules::ConflictPolicy;

/// Two streams kept in step.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    pub name: String,
    pub a: EndConfig,
    pub b: EndConfig,
    pub a_to_b: bool,
    pub b_to_a: bool,
    pub poll_interval: Duration,
    /// How often streams that are read from a cursor are compared as a whole; zero for never.
    pub audit_interval: Duration,
    /// Who wins where both sides already hold a record when they first meet.
    pub first_contact: ConflictPolicy,
    /// Instead of the destination system's, where the link says so.
    pub batch_size: Option<usize>,
    /// Instead of the destination system's, where the link says so.
    pub flush_interval: Option<Duration>,
    /// Jobs that a direction holds before its source is no longer read.
    pub queue_max: u64,
    pub fuse: FuseConfig,
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct EndConfig {
    /// The system's name; the customer has it.
    pub system: String,
    pub stream: String,
    /// The key fields, at least one, as many as at the other end.
    pub key: Vec<String>,
    /// What only the connector understands.
    pub options: Map<String, Value>,
}

/// When a direction freezes instead of believing what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuseConfig {
    /// A poll that deletes more than this part of the pairs, in percent …
    pub deletes_percent: u32,
    /// … and at least so many, freezes the direction.
    pub deletes_min: u32,
    /// So does one that empties a field in more than this part of the records, in percent.
    pub emptied_percent: u32,
    /// … and at least so many.
    pub emptied_min: u32,
    /// And one that shows no record at all of a stream that had at least so many.
    pub empty_min: u32,
}

impl Default for FuseConfig {
    fn default() -> Self {
        Self { deletes_percent: 20, deletes_min: 10, emptied_percent: 50, emptied_min: 10, empty_min: 3 }
    }
}

const POLL_INTERVALS: std::ops::RangeInclusive<f64> = 0.01..=86_400.0;
/// From never to a month.
const AUDIT_INTERVALS: std::ops::RangeInclusive<f64> = 0.0..=2_678_400.0;
const AUDIT_INTERVAL: Duration = Duration::from_secs(86_400);

/// A few hundred megabytes of state.
const QUEUE_MAX: u64 = 1_000_000;

/// Reads one link; `None` where an end is not usable or the link is switched off.
pub(super) fn read(
    name: &str,
    key_span: &Range<usize>,
    fields: &Fields<'_>,
    systems: &BTreeMap<String, SystemConfig>,
    all_systems: &[String],
) -> Option<LinkConfig> {
    if !super::is_plain_name(name) {
        fields.refuse(
            key_span,
            format!("a link can't be called `{name}`"),
            "use letters, digits, _ and -, at most 64",
        );
    }
    let a = read_end(name, "a", fields, systems, all_systems);
    let b = read_end(name, "b", fields, systems, all_systems);
    let directions = [("both", (true, true)), ("a_to_b", (true, false)), ("b_to_a", (false, true))];
    let (a_to_b, b_to_a) = fields.word("direction", &directions).unwrap_or((true, true));
    let policies = [
        ("newest", ConflictPolicy::Newest),
        ("a", ConflictPolicy::A),
        ("b", ConflictPolicy::B),
        ("manual", ConflictPolicy::Manual),
    ];
    let first_contact = fields.word("first_contact", &policies).unwrap_or(ConflictPolicy::Newest);
    let poll_interval = fields.seconds("poll_interval", POLL_INTERVALS).unwrap_or(Duration::from_secs(5));
    let audit_interval = fields.seconds("audit_interval", AUDIT_INTERVALS).unwrap_or(AUDIT_INTERVAL);
    let batch_size = fields.count("batch_size", BATCH_SIZES).map(as_usize);
    let flush_interval = fields.seconds("flush_interval", FLUSH_INTERVALS);
    let queue_max = fields.count("queue_max", 1..=1_000_000_000).unwrap_or(QUEUE_MAX);
    let fuse = read_fuse(fields);
    let enabled = fields.flag("enabled").unwrap_or(true);
    fields.refuse_unknown(&format!("link `{name}`"), &[]);
    let (a, b) = (a?, b?);
    check_ends(name, key_span, fields, &a, &b, systems);
    let name = name.to_owned();
    enabled.then_some(LinkConfig {
        name,
        a,
        b,
        a_to_b,
        b_to_a,
        poll_interval,
        audit_interval,
        first_contact,
        batch_size,
        flush_interval,
        queue_max,
        fuse,
    })
}

fn read_end(
    link: &str,
    side: &'static str,
    fields: &Fields<'_>,
    systems: &BTreeMap<String, SystemConfig>,
    all_systems: &[String],
) -> Option<EndConfig> {
    let example = format!("{side} = {{ system = \"…\", stream = \"…\", key = \"…\" }}");
    if fields.node(side).is_none() {
        fields.refuse(&fields.span, format!("link `{link}` has no end `{side}`"), format!("add {example}"));
        return None;
    }
    let end = fields.table(side)?;
    for key in ["system", "stream", "key"] {
        if end.node(key).is_none() {
            let message = format!("end `{side}` of link `{link}` has no `{key}`");
            end.refuse(&end.span, message, format!("write {example}"));
        }
    }
    let system = end.text("system");
    let stream = end.text("stream");
    let key = end.texts("key");
    let (system, system_node) = system?;
    let Some(config) = systems.get(&system) else {
        // A system that is there but wrong has been spoken of already.
        if !all_systems.contains(&system) {
            let names = all_systems.iter().map(String::as_str);
            let remedy = match nearest(&system, names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None if all_systems.is_empty() => format!("add [default.systems.{system}]"),
                None => format!("add [default.systems.{system}], or name one of: {}", all_systems.join(", ")),
            };
            end.refuse(&system_node.span, format!("link `{link}`: there is no system `{system}`"), remedy);
        }
        return None;
    };
    let options = end.others().into_iter().map(|(name, entry)| (name.to_owned(), entry.node.to_json()));
    let options: Map<String, Value> = options.collect();
    let known = fields.reading.catalogue.find(&config.connector).map(|facts| facts.stream_options);
    end.refuse_unknown(&format!("end `{side}` of link `{link}`"), known.unwrap_or_default());
    Some(EndConfig { system, stream: stream?.0, key: key?.0, options })
}

/// Checks what only both ends together can tell.
fn check_ends(
    name: &str,
    key_span: &Range<usize>,
    fields: &Fields<'_>,
    a: &EndConfig,
    b: &EndConfig,
    systems: &BTreeMap<String, SystemConfig>,
) {
    let product = |end: &EndConfig| systems.get(&end.system).map(|s| (&s.connector, &s.settings));
    if a.stream == b.stream && product(a) == product(b) {
        fields.refuse(
            key_span,
            format!("link `{name}` ties stream `{}` to itself", a.stream),
            "name two streams, or two systems that differ",
        );
    }
    if a.key.len() != b.key.len() {
        fields.refuse(
            key_span,
            format!("link `{name}` has a key of {} at a and of {} at b", a.key.len(), b.key.len()),
            "name as many key fields at both ends, in the same order",
        );
    }
}

fn read_fuse(fields: &Fields<'_>) -> FuseConfig {
    let default = FuseConfig::default();
    let Some(fields) = fields.table("fuse") else { return default };
    let count = |name, most, default| {
        fields.count(name, 0..=most).and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    };
    let fuse = FuseConfig {
        deletes_percent: count("deletes_percent", 100, default.deletes_percent),
        deletes_min: count("deletes_min", u64::from(u32::MAX), default.deletes_min),
        emptied_percent: count("emptied_percent", 100, default.emptied_percent),
        emptied_min: count("emptied_min", u64::from(u32::MAX), default.emptied_min),
        empty_min: count("empty_min", u64::from(u32::MAX), default.empty_min),
    };
    fields.refuse_unknown("`fuse`", &[]);
    fuse
}
