//! `settle`: the ends of leases, one by one.

use super::job_table::Jobs;
use super::sheaves::Writing;
use super::trouble::Fallible;
use super::{Session, attempts, history, sent};
use crate::engine::record::Timestamp;
use crate::store::moves::Row;
use crate::store::{Counters, LinkId, Settled, Settlement};

pub(super) fn settle(
    session: &mut Session,
    link: LinkId,
    settlements: Vec<Settlement>,
    now: Timestamp,
) -> Fallible<Settled> {
    let Session { db, shapes, books, .. } = session;
    let db = &*db;
    let mut jobs = Jobs::new(db, books);
    let mut writing = Writing::new(db, shapes, link);
    let mut settled = Settled::default();
    let mut counted = Counters::default();
    let mut answered = Vec::new();
    for settlement in settlements {
        let id = settlement.job_id;
        let held = |row: &Row| row.link == link && row.is_held_under(settlement.fence);
        let Some(mut row) = jobs.by_id(id)?.filter(|row| held(row)) else {
            settled.lost.push(id);
            continue;
        };
        let direction = row.job.direction;
        let knows = settlement.pair.is_some();
        let mut moved = row.settle(settlement.transition, settlement.reason, knows, now);
        let mut mark = moved.mark.take();
        if let Some(mut pair) = settlement.pair {
            if let Some(mark) = mark.take().filter(|_| moved.overrules) {
                mark.apply(pair.way_mut(direction));
            }
            let held = if settlement.forget {
                writing.forget(&pair.key, pair.version)?
            } else {
                writing.put(&pair, None)?
            };
            if !held {
                settled.stale.push(id);
                continue;
            }
        }
        if moved.gone {
            jobs.remove(&row)?;
        } else {
            jobs.update(&row)?;
            attempts::remember(db, id, moved.attempt.as_ref())?;
        }
        if let Some(mark) = mark {
            writing.mark(&row.job.key, direction, mark)?;
        }
        if let Some(next) = &moved.next {
            jobs.insert(next)?;
        }
        history::tell(db, link, &settlement.history)?;
        answered.extend(settlement.answered);
        counted += moved.counted;
    }
    drop(jobs);
    sent::answer(db, &answered)?;
    let growth = writing.finish()?;
    books.count(db, link, growth, counted)?;
    Ok(settled)
}
