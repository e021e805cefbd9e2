//! The story in plain words: where the record stands, why it goes no further, and how it came there.

use super::facts::{Known, Looked, changed, why_words};
use crate::engine::job::{JobState, Origin};
use crate::engine::plan::{Action, Pair, Seen, Status};
use crate::engine::record::{Direction, Side, Timestamp};
use crate::runtime::link::at;

/// Events of the past that are told; the rest stands in the history.
const TOLD_MAX: usize = 20;

/// Tells the story, a sentence a line.
pub fn tell(known: &Known, looked: Option<&Looked>) -> Vec<String> {
    let mut story = Vec::new();
    match &known.pair {
        Some(pair) => {
            for side in Side::BOTH {
                story.push(side_words(known, pair, side));
            }
            for direction in Direction::BOTH {
                direction_words(known, pair, direction, &mut story);
            }
        }
        None => absent_words(known, looked, &mut story),
    }
    if known.ctx.is_none() {
        story.push(format!(
            "The link is {}, so the rules can't be asked now; what is told here is what was stored.",
            known.state_word()
        ));
    }
    for job in known.jobs.iter().filter(|job| job.state.is_active() || job.state == JobState::Dead) {
        let to = known.name(job.direction.to());
        let what = match job.origin {
            Origin::Push => "A write that was asked for",
            Origin::Asked => "A delivery that was asked for",
            Origin::Sync => "Its delivery",
        };
        let mut words = format!("{what} to {to} is {} (job {})", job.state.as_str(), job.id);
        if job.attempts > 0 {
            words.push_str(&format!(", {} attempts", job.attempts));
        }
        if job.due_at > known.now && job.state != JobState::Dead {
            words.push_str(&format!(", due at {}", job.due_at));
        }
        if let Some(error) = &job.error {
            words.push_str(&format!(": {}", error.message));
        }
        story.push(words + ".");
    }
    let [a, b] = &known.names;
    for recorded in known.history.iter().take(TOLD_MAX) {
        let event = &recorded.event;
        let by = if event.rules_version > 0 {
            format!(" (rules version {})", event.rules_version)
        } else {
            String::new()
        };
        story.push(format!("{}: {}{by}.", event.at, event.words(a, b)));
    }
    story
}

fn side_words(known: &Known, pair: &Pair, side: Side) -> String {
    let name = known.name(side);
    let state = pair.side(side);
    let id = state.id.as_ref().map_or_else(String::new, |id| format!(" under the id {id}"));
    let since = if state.seen_at == Timestamp::default() {
        String::new()
    } else {
        format!(", last seen to change at {}", state.seen_at)
    };
    match &state.seen {
        Seen::Never => format!("{name} was never seen to have it."),
        Seen::Deleted(Some(when)) => format!("It was deleted at {name} at {when}."),
        Seen::Deleted(None) => format!("It was deleted at {name}{since}."),
        Seen::AsBase => {
            let echo = known.last_write(side).filter(|last| last.event.at >= state.seen_at).map(|last| {
                format!(
                    "; that is what we wrote there at {}, and reading it back changes nothing",
                    last.event.at
                )
            });
            format!("{name} has it{id}, as both sides last agreed{since}{}.", echo.unwrap_or_default())
        }
        Seen::Changed(image) if state.base.is_some() => {
            let fields = changed(state.base.as_ref(), Some(image)).join(", ");
            format!("{name} has it{id}; since both sides last agreed it has changed {fields}{since}.")
        }
        Seen::Changed(_) => format!("{name} has it{id}; both sides never agreed on it yet{since}."),
    }
}

fn direction_words(known: &Known, pair: &Pair, direction: Direction, story: &mut Vec<String>) {
    let (from, to) = (known.name(direction.from()), known.name(direction.to()));
    let arrow = format!("{from} → {to}");
    let way = pair.way(direction);
    if known.ctx.as_ref().is_some_and(|ctx| ctx.rules.way(direction).is_none()) {
        story.push(format!("{arrow}: nothing travels this way on this link."));
        return;
    }
    let mut words = format!("{arrow}: {}", status_words(way.status));
    if let (Status::Synced, Some(at)) = (way.status, way.synced_at) {
        words.push_str(&format!(" at {at}, under rules version {}", way.rules_version));
    }
    if let Some(error) = &way.error {
        let word = if way.status == Status::SkippedByRule { " by the rule " } else { ": " };
        words.push_str(&format!("{word}{error}"));
    }
    story.push(words + ".");
    story.extend(known.held_up_by(direction).into_iter().map(|reason| format!("{arrow}: {reason}.")));
    let Some(decision) = &known.decision else { return };
    let action = decision.action(direction);
    match action {
        Action::Skip(_) | Action::Invalid(_) => {
            for verdict in known.verdicts(direction).iter().filter(|verdict| !verdict.passes) {
                story.push(format!("{arrow}: {} ({}).", verdict.words, verdict.rule));
            }
        }
        Action::Nothing(why) if way.status != Status::Synced => {
            story.push(format!("{arrow}: nothing is to be done now, {}.", why_words(*why)));
        }
        Action::Nothing(_) => {}
        Action::Conflict(fields) => {
            for field in fields.iter().filter(|_| direction == Direction::AToB) {
                let shown = crate::engine::history::Cell::words;
                story.push(format!(
                    "Both sides changed {}: {} has {}, {} has {}; pick one with POST /v1/conflicts/{{id}}/resolve.",
                    field.a_field,
                    known.name(Side::A),
                    shown(&(&field.a_value).into()),
                    known.name(Side::B),
                    shown(&(&field.b_value).into()),
                ));
            }
        }
        Action::Create(_) => story.push(format!("{arrow}: it is to be created at {to}.")),
        Action::Update(_) => story.push(format!("{arrow}: a change is to be written to {to}.")),
        Action::Delete => story.push(format!("{arrow}: it is to be deleted at {to}.")),
    }
    let waits = if action.is_write() { known.waits_for(direction) } else { Vec::new() };
    story.extend(waits.into_iter().map(|reason| format!("{arrow}: {reason}.")));
}

fn status_words(status: Status) -> &'static str {
    match status {
        Status::None => "nothing was ever to be done",
        Status::Queued => "waiting to be delivered",
        Status::Retrying => "failed and tried again",
        Status::Waiting => "waiting",
        Status::Conflict => "in conflict, nothing is written until somebody picks",
        Status::Synced => "synced",
        Status::SkippedByRule => "held back",
        Status::Dead => "a dead letter, nothing is written until it is mended",
        Status::Cancelled => "cancelled",
    }
}

fn absent_words(known: &Known, looked: Option<&Looked>, story: &mut Vec<String>) {
    if known.history.is_empty() {
        story.push(format!("This link never saw a record with the key {}.", known.key));
    } else {
        story.push(format!("Neither side has a record with the key {} any more.", known.key));
    }
    let Some(looked) = looked else { return };
    for side in Side::BOTH {
        let name = known.name(side);
        match at(&looked.sides, side) {
            None => {}
            Some(Err(error)) => story.push(format!("{name} could not be asked: {error}.")),
            Some(Ok(None)) => story.push(format!("{name} has no such record now.")),
            Some(Ok(Some(_))) => {
                story.push(format!("{name} has it now, but it was not read yet."));
                let reasons = known.held_up_by(side.outward()).into_iter();
                story.extend(reasons.map(|reason| format!("{name}: {reason}.")));
            }
        }
    }
}
