//! Jobs for one record that somebody asked for (`POST /v1/jobs/{link}`): the record is looked at where it
//! comes from, now, and then planned and delivered like a change that a poll brought.
//!
//! Invariant: what the look shows is stored with a job that stands for it, so that nothing is lost where
//! somebody cancels what was asked for.

use super::link::LinkContext;
use super::look;
use super::page::{self, Entry, Fact, Facts, Mode, storage};
use super::verdict::{Ending, dead, source_away};
use crate::connectors::{Call, Wanted};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::job::{Job, JobError, Origin};
use crate::engine::plan::{Action, Pair, Projector};
use crate::engine::record::Direction;
use crate::store::Leased;

/// A header that names more than one request has room for this much.
const CORRELATION_BYTES_MAX: usize = 1000;

/// Names the requests that a batch answers, whose outside calls carry them all; else the pass.
pub(super) fn correlation(leased: &[Leased]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut bytes = 0;
    for job in leased.iter().map(|leased| &leased.job).filter(|job| job.origin.is_kept()) {
        let name = job.correlation_id.as_str();
        if !names.contains(&name) && bytes + name.len() < CORRELATION_BYTES_MAX {
            bytes += name.len() + 1;
            names.push(name);
        }
    }
    if names.is_empty() {
        names.extend(leased.first().map(|leased| leased.job.correlation_id.as_str()));
    }
    names.join(",")
}

/// Looks at the records that were asked for where they come from, and takes them in as a page does. Gives
/// back what is to be planned; the rest has ended.
pub(super) async fn look(
    ctx: &LinkContext,
    direction: Direction,
    leased: Vec<Leased>,
    endings: &mut Vec<Ending>,
    call: &Call,
) -> Vec<Leased> {
    let side = direction.from();
    let (asked, mut kept): (Vec<Leased>, Vec<Leased>) =
        leased.into_iter().partition(|leased| leased.job.origin == Origin::Asked);
    let wanted: Vec<Wanted> = asked
        .iter()
        .map(|Leased { job, pair }| Wanted {
            key: job.key.clone(),
            id: pair.as_ref().and_then(|pair| pair.side(side).id.clone()),
        })
        .collect();
    let attempts: Vec<u32> = asked.iter().map(|leased| leased.job.attempts).collect();
    let began = ctx.now();
    let mut facts = Vec::with_capacity(asked.len());
    let mut alive = Vec::with_capacity(asked.len());
    let mut projector = Projector::new(&ctx.rules, side);
    for (leased, found) in asked.into_iter().zip(look::each(ctx, side, (&wanted, &attempts), call).await) {
        let found = match found {
            Ok(found) => found.map(|record| projector.project(record)),
            Err(fault) => {
                endings.push(source_away(ctx, &leased.job, entry(&leased), &fault, began));
                continue;
            }
        };
        let fact = match found {
            Some(Ok(projected)) if projected.key == leased.job.key => Fact::Seen(projected),
            Some(Err(malformed)) => {
                let before = entry(&leased).before;
                let error = JobError { code: FaultCode::Validation, message: malformed.reason };
                endings.push(dead(ctx, &leased.job, before, error));
                continue;
            }
            Some(Ok(_)) | None => Fact::Gone(None, None),
        };
        facts.push((leased.job.key.clone(), fact));
        alive.push(leased);
    }
    match page::take(ctx, Facts::of(side, facts, began), Mode::Ask).await {
        Ok(_) => kept.append(&mut alive),
        Err(fault) => endings.extend(
            alive.into_iter().map(|leased| source_away(ctx, &leased.job, entry(&leased), &fault, began)),
        ),
    }
    kept
}

fn entry(leased: &Leased) -> Entry {
    Entry::new(leased.pair.clone().unwrap_or_else(|| Pair::new(leased.job.key.clone())))
}

/// Reads the pairs of claimed jobs again.
pub(super) async fn refresh(ctx: &LinkContext, leased: Vec<Leased>) -> Result<Vec<Leased>, Fault> {
    let keys = leased.iter().map(|leased| leased.job.key.clone()).collect();
    let pairs = ctx.store.known(ctx.id, keys).await.map_err(storage)?;
    Ok(leased.into_iter().zip(pairs).map(|(leased, pair)| Leased { pair, ..leased }).collect())
}

/// Says why something that was asked for and writes nothing has not been done; `None` where nothing was to
/// be done, or nobody asked.
pub(super) fn unmet(ctx: &LinkContext, job: &Job, pair: &Pair, action: &Action) -> Option<JobError> {
    if job.origin != Origin::Asked {
        return None;
    }
    let direction = job.direction;
    let name = |side| format!("{}.{}", ctx.end(side).system_name, ctx.end(side).spec.stream);
    if let Action::Skip(held) = action {
        let message = format!("held back by the rule {}", held.rule);
        return Some(JobError { code: FaultCode::Validation, message });
    }
    if pair.side(direction.from()).now().is_some() {
        return None;
    }
    let there = name(direction.to());
    let message = match pair.side(direction.to()).now() {
        Some(_) => format!(
            "{} has no record {}, and nothing of that is to be done at {there}, which has it",
            name(direction.from()),
            job.key
        ),
        None => format!("neither {} nor {there} has a record {}", name(direction.from()), job.key),
    };
    Some(JobError { code: FaultCode::NotFound, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::job::JobState;
    use crate::engine::record::{Key, Timestamp};

    fn leased(origin: Origin, correlation_id: &str) -> Leased {
        let now = Timestamp(0);
        let job = Job {
            id: 1,
            direction: Direction::AToB,
            key: Key::from_text("7").unwrap(),
            state: JobState::Leased,
            origin,
            attempts: 1,
            attempts_max: 0,
            priority: 0,
            due_at: now,
            created_at: now,
            updated_at: now,
            rules_version: 1,
            correlation_id: correlation_id.to_owned(),
            error: None,
            payload: None,
            replay_of: None,
            replay_attempt: None,
            replayed_by: None,
            scheduled_at: None,
            lease: None,
        };
        Leased { job, pair: None }
    }

    #[test]
    fn a_batch_goes_by_the_names_of_all_that_it_answers() {
        let long = "x".repeat(900);
        // (jobs, name, why)
        let cases = [
            (vec![], "", "nothing"),
            (vec![(Origin::Sync, "run-1"), (Origin::Sync, "run-2")], "run-1", "what a poll brought"),
            (vec![(Origin::Sync, "run-1"), (Origin::Push, "p-1")], "p-1", "a request tells more than a pass"),
            (
                vec![(Origin::Push, "p-1"), (Origin::Asked, "a-1"), (Origin::Push, "p-1")],
                "p-1,a-1",
                "each once",
            ),
            (
                vec![(Origin::Push, &long), (Origin::Push, &long[..200]), (Origin::Asked, "a-1")],
                &format!("{long},a-1"),
                "as far as there is room",
            ),
        ];
        for (jobs, name, why) in cases {
            let jobs: Vec<Leased> = jobs.into_iter().map(|(origin, id)| leased(origin, id)).collect();
            assert_eq!(correlation(&jobs), name, "{why}");
        }
    }
}
