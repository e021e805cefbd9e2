//! What is known of a record: its pair, its jobs, its events, its link, and what the rules say of it now.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::connectors::{Call, Class, Wanted};
use crate::engine::history::What;
use crate::engine::job::Job;
use crate::engine::plan::{Action, Decision, Occasion, Pair, Seen, Why, reconcile};
use crate::engine::record::{Direction, Image, Key, Record, Side, Timestamp, value_to_json};
use crate::engine::rules::Verdict;
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::link::{LinkContext, Phase, along, at, lock};
use crate::runtime::supervisor::StartError;
use crate::store::{HistoryFilter, JobFilter, LinkState, Recorded};

/// Jobs of one record that are looked at.
const JOBS_MAX: usize = 50;

/// All that is known without asking anybody outside.
pub struct Known {
    pub key: Key,
    pub state: Option<LinkState>,
    pub phase: Phase,
    /// The link at work; `None` where it is not.
    pub ctx: Option<Arc<LinkContext>>,
    /// The last faults: of the reads of both sides, then of the writes of both directions.
    pub trouble: [Option<String>; 4],
    pub names: [String; 2],
    pub gates: [Option<Value>; 2],
    pub pair: Option<Pair>,
    /// What would be decided now.
    pub decision: Option<Decision>,
    pub jobs: Vec<Job>,
    /// Newest first.
    pub history: Vec<Recorded>,
    pub now: Timestamp,
}

impl Known {
    /// Reads everything.
    pub async fn gather(
        app: &App,
        customer: &str,
        link: &str,
        key: Key,
        (limit, before): (usize, Option<i64>),
    ) -> Result<Self, Problem> {
        let runtime = &app.runtime;
        let config = runtime.config();
        let known = config.customer(customer).map_err(|error| Problem::invalid(error.to_string()))?;
        let states = runtime.store.links().await?;
        let state = states.into_iter().find(|state| state.customer == customer && state.link == link);
        let Some(configured) = known.links.get(link) else {
            let links: Vec<&str> = known.links.keys().map(String::as_str).collect();
            let error = StartError::UnknownLink { link: link.to_owned(), known: links.join(", ") };
            return Err(error.into());
        };
        let names = [&configured.a, &configured.b].map(|end| format!("{}.{}", end.system, end.stream));
        let gates = [&configured.a, &configured.b].map(|end| {
            runtime.gate_view(customer, &end.system).and_then(|gate| serde_json::to_value(gate).ok())
        });
        let running = runtime.running(customer, link);
        let ctx = running.as_ref().and_then(|running| running.context.load_full());
        let phase = running.as_ref().map_or(Phase::Stopped, |running| lock(&running.view.phase).clone());
        let trouble = running.as_ref().map_or_else(Default::default, |running| {
            running.view.trouble.each_ref().map(|text| lock(text).clone())
        });
        let mut this = Self {
            key: key.clone(),
            phase,
            ctx,
            trouble,
            names,
            gates,
            pair: None,
            decision: None,
            jobs: Vec::new(),
            history: Vec::new(),
            now: (runtime.clock)(),
            state,
        };
        if let Some(id) = this.state.as_ref().map(|state| state.id) {
            this.pair = runtime.store.known(id, vec![key.clone()]).await?.into_iter().flatten().next();
            let filter =
                JobFilter { link: Some(id), key: Some(key.clone()), limit: JOBS_MAX, ..JobFilter::default() };
            this.jobs = runtime.store.jobs(filter).await?.into_iter().map(|(_, job)| job).collect();
            let filter =
                HistoryFilter { link: Some(id), key: Some(key), before, limit, ..HistoryFilter::default() };
            this.history = runtime.store.history(filter).await?;
        }
        this.decision = this.ctx.as_ref().and_then(|ctx| {
            let mut pair = this.pair.clone()?;
            Some(reconcile(&mut pair, &ctx.rules, Occasion::Change))
        });
        Ok(this)
    }

    /// Nothing was ever seen or asked of this record.
    pub fn is_unheard_of(&self) -> bool {
        self.pair.is_none() && self.jobs.is_empty() && self.history.is_empty()
    }

    /// Looks for the record at both sides, now.
    pub async fn look(&self, correlation_id: String) -> Looked {
        let Some(ctx) = &self.ctx else { return Looked { sides: [None, None] } };
        let call = Call::new(Class::Interactive, correlation_id);
        let mut sides = [None, None];
        for (side, place) in Side::BOTH.into_iter().zip(&mut sides) {
            let wanted = [Wanted { key: self.key.clone(), id: None }];
            let found = ctx.end(side).destination.look_up(&wanted, &call).await;
            *place = Some(match found {
                Ok(found) => Ok(found.into_iter().flatten().next()),
                Err(fault) => Err(fault.to_string()),
            });
        }
        Looked { sides }
    }

    /// Returns the name of an end, such as `app.users`.
    pub fn name(&self, side: Side) -> &str {
        at::<String>(&self.names, side)
    }

    /// What the link as a whole does.
    pub fn state_word(&self) -> &'static str {
        if self.state.as_ref().is_some_and(|state| state.paused) { "paused" } else { self.phase.as_str() }
    }

    /// Returns what every rule of a direction says of the record as its source shows it.
    pub fn verdicts(&self, direction: Direction) -> Vec<Verdict> {
        let (Some(ctx), Some(pair)) = (&self.ctx, &self.pair) else { return Vec::new() };
        let image = |side: Side| -> Option<Image> {
            pair.side(side).now().cloned().map(|image| image.reshaped(ctx.rules.shape(side)))
        };
        let (Some(way), Some(from)) = (ctx.rules.way(direction), image(direction.from())) else {
            return Vec::new();
        };
        way.verdicts(&from, image(direction.to()).as_ref())
    }

    /// Says what keeps anything from travelling in a direction, whether there is something to write or not.
    pub fn held_up_by(&self, direction: Direction) -> Vec<String> {
        let mut reasons = Vec::new();
        match &self.phase {
            _ if self.state.as_ref().is_some_and(|state| state.paused) => {
                reasons.push("the link is paused; POST /v1/links/{link}/resume lets it run".to_owned());
            }
            Phase::Blocked(reason) => reasons.push(format!("the link can't work: {reason}")),
            Phase::Live => {}
            phase => reasons.push(format!("the link is {}", phase.as_str())),
        }
        if let Some(frozen) = self.state.as_ref().and_then(|state| along(&state.frozen, direction).as_ref()) {
            reasons.push(format!("the direction is frozen by a fuse: {frozen}"));
        }
        let [a, b, ..] = &self.trouble;
        let trouble = if direction == Direction::AToB { a } else { b };
        let from = self.name(direction.from());
        reasons.extend(trouble.iter().map(|trouble| format!("the last read of {from} failed: {trouble}")));
        reasons
    }

    /// Says what a write in a direction waits for.
    pub fn waits_for(&self, direction: Direction) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(gate) = at(&self.gates, direction.to()) {
            reasons.extend(gate_words(gate, self.name(direction.to())));
        }
        let [_, _, a_to_b, b_to_a] = &self.trouble;
        let trouble = if direction == Direction::AToB { a_to_b } else { b_to_a };
        reasons.extend(trouble.iter().map(|trouble| format!("the last write there failed: {trouble}")));
        reasons
    }

    /// Returns an event as users read it.
    pub fn event(&self, recorded: &Recorded) -> Value {
        let event = &recorded.event;
        let [a, b] = &self.names;
        let data: Value = serde_json::from_str(&event.what.encode()).unwrap_or_default();
        let data = match data {
            Value::Object(mut members) => members.remove(event.what.kind()).unwrap_or_default(),
            _ => Value::Null,
        };
        json!({ "id": recorded.id, "at": event.at, "kind": event.what.kind(), "words": event.words(a, b),
            "direction": event.direction.map(Direction::as_str), "rules_version": event.rules_version,
            "run": event.run, "attempt": event.attempt, "data": data })
    }

    /// Returns the last write of ours to a side.
    pub fn last_write(&self, side: Side) -> Option<&Recorded> {
        self.history.iter().find(|recorded| {
            matches!(recorded.event.what, What::Written(_))
                && recorded.event.direction.is_some_and(|direction| direction.to() == side)
        })
    }

    /// Returns a side as data.
    pub fn side(&self, side: Side, looked: Option<&Looked>) -> Value {
        let found = looked.and_then(|looked| at(&looked.sides, side).as_ref());
        let Some(state) = self.pair.as_ref().map(|pair| pair.side(side)) else {
            let there = found.map(|found| matches!(found, Ok(Some(_))));
            return json!({ "name": self.name(side), "present": there,
                "error": found.and_then(|found| found.as_ref().err()) });
        };
        let looks = match &state.seen {
            Seen::Never => "never_seen",
            Seen::AsBase => "as_agreed",
            Seen::Changed(_) => "changed",
            Seen::Deleted(_) => "deleted",
        };
        let seen = state.seen_at != Timestamp::default();
        json!({ "name": self.name(side), "present": state.now().is_some(), "looks": looks,
            "id": state.id.as_deref(), "revision": state.revision.as_deref(),
            "seen_at": seen.then_some(state.seen_at), "modified_at": state.modified_at,
            "fields": state.now().map(fields), "base": state.base.as_ref().map(fields),
            "changed": changed(state.base.as_ref(), state.now()) })
    }

    /// Returns a direction as data.
    pub fn way(&self, direction: Direction) -> Value {
        let state = self.pair.as_ref().map(|pair| pair.way(direction));
        let jobs: Vec<Value> =
            self.jobs.iter().filter(|job| job.direction == direction).map(job_view).collect();
        let decision =
            self.decision.as_ref().map(|decision| self.decided(decision.action(direction), direction));
        let exists = self.ctx.as_ref().map(|ctx| ctx.rules.way(direction).is_some());
        json!({ "exists": exists,
            "status": state.map_or("none", |state| state.status.as_str()),
            "error": state.and_then(|state| state.error.as_ref()),
            "attempts": state.map(|state| state.attempts),
            "queued_at": state.and_then(|state| state.queued_at),
            "synced_at": state.and_then(|state| state.synced_at),
            "rules_version": state.map(|state| state.rules_version),
            "decision": decision, "verdicts": self.verdicts(direction),
            "held_up_by": self.held_up_by(direction), "waits_for": self.waits_for(direction), "jobs": jobs })
    }

    fn decided(&self, action: &Action, direction: Direction) -> Value {
        let shape = self.ctx.as_ref().map(|ctx| Arc::clone(ctx.rules.shape(direction.to())));
        let named = |values: &[crate::engine::record::Value]| -> Value {
            let Some(shape) = &shape else { return Value::Null };
            let there = shape.names().zip(values).filter(|(_, value)| !value.is_missing());
            Value::Object(there.map(|(name, value)| (name.to_owned(), value_to_json(value))).collect())
        };
        match action {
            Action::Nothing(why) => json!({ "action": "nothing", "why": why_words(*why) }),
            Action::Create(values) => json!({ "action": "create", "fields": named(values) }),
            Action::Update(values) => json!({ "action": "update", "fields": named(values) }),
            Action::Delete => json!({ "action": "delete" }),
            Action::Skip(held) => json!({ "action": "skip", "rule": held.rule }),
            Action::Invalid(invalid) => {
                json!({ "action": "invalid", "rule": invalid.rule, "field": invalid.field, "why": invalid.reason })
            }
            Action::Conflict(contested) => {
                let fields: Vec<Value> = contested
                    .iter()
                    .map(|field| {
                        json!({ "a_field": field.a_field, "b_field": field.b_field,
                            "a": value_to_json(&field.a_value), "b": value_to_json(&field.b_value) })
                    })
                    .collect();
                json!({ "action": "conflict", "fields": fields })
            }
        }
    }
}

/// What a look at both sides brought; `None` where nobody could look.
pub struct Looked {
    pub sides: [Option<Result<Option<Record>, String>>; 2],
}

impl Looked {
    /// Neither side has the record, as far as could be seen.
    pub fn is_nowhere(&self) -> bool {
        !self.sides.iter().flatten().any(|found| matches!(found, Ok(Some(_))))
    }
}

/// Says in words why nothing is to be done.
pub fn why_words(why: Why) -> &'static str {
    match why {
        Why::Agreed => "both sides agree under the rules",
        Why::NoWay => "the rules let nothing of this kind travel this way",
        Why::DeleteIgnored => "the rules ignore this deletion",
        Why::NothingThere => "there is nothing here that could travel",
        Why::OtherDirection => "the other direction settles it",
    }
}

fn gate_words(gate: &Value, name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let number = |pointer: &str| gate.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
    let text = |pointer: &str| gate.pointer(pointer).and_then(Value::as_str);
    if number("/max") > 0.0 && number("/used") >= number("/max") {
        words.push(format!(
            "the window of {name} is full: {} calls in {} seconds; it waits for a free slot",
            number("/max"),
            number("/window_seconds")
        ));
    }
    if text("/breaker/state") == Some("open") {
        let reason = text("/breaker/reason").unwrap_or("it failed often");
        let next = text("/breaker/next_try_at").map(|at| format!(" at {at}")).unwrap_or_default();
        words.push(format!("the breaker of {name} is open ({reason}); it is tried again{next}"));
    }
    if let Some(until) = text("/paused_until") {
        words.push(match text("/paused_by") {
            Some("day") => format!("the day's calls to {name} are made; there is room again at {until}"),
            Some("quota") => format!("the quota of {name} is spent; it rests until {until}"),
            _ => format!("{name} asked for patience until {until}"),
        });
    }
    words
}

fn fields(image: &Image) -> Value {
    let there = image.shape.names().zip(&image.values).filter(|(_, value)| !value.is_missing());
    let there = there.map(|(name, value)| (name.to_owned(), value_to_json(value)));
    Value::Object(there.collect::<Map<String, Value>>())
}

/// Returns the names of the fields that differ from the base.
pub fn changed(base: Option<&Image>, now: Option<&Image>) -> Vec<String> {
    let (Some(base), Some(now)) = (base, now) else { return Vec::new() };
    let names = now.shape.names().zip(&now.values);
    names.filter(|(name, value)| base.get(name) != *value).map(|(name, _)| name.to_owned()).collect()
}

fn job_view(job: &Job) -> Value {
    json!({ "id": job.id, "state": job.state.as_str(), "attempts": job.attempts, "due_at": job.due_at,
        "created_at": job.created_at, "updated_at": job.updated_at, "correlation_id": job.correlation_id,
        "rules_version": job.rules_version, "error": job.error.as_ref().map(|error| &error.message) })
}
