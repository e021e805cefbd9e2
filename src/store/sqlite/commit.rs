//! `commit`: everything that one page, or one push, decided.

use super::pair_row::{Growth, Writing};
use super::trouble::Fallible;
use super::{Session, history, job_row, jobs as job_moves, kv, links, sent};
use crate::engine::job::{JobState, Origin};
use crate::engine::record::{Key, Timestamp};
use crate::store::moves::Row;
use crate::store::{Commit, Committed, Counters, LinkId, LoadId, NewJob, Transition, once};

pub(super) fn commit(
    session: &mut Session,
    link: LinkId,
    commit: Commit,
    now: Timestamp,
) -> Fallible<Committed> {
    links::must_exist(&session.db, link)?;
    let (stale, growth) = put_pairs(session, link, &commit)?;
    if !stale.is_empty() {
        session.undo = true;
        return Ok(Committed { stale, jobs: Vec::new() });
    }
    let db = &session.db;
    let mut counted = commit.counted;
    for (direction, key) in &commit.obsolete {
        let standing = job_row::active(db, link, *direction, key)?;
        if let Some(mut row) = standing {
            if row.job.origin == Origin::Sync && row.job.state != JobState::Leased {
                job_row::remove(db, row.job.id)?;
                counted.superseded += 1;
            } else if row.is_parked() {
                let moved = row.settle(Transition::Obsolete, None, now);
                job_moves::carry_out(db, &row, moved)?;
            }
        }
        while let Some(letter) = job_row::dead_sync(db, link, *direction, key)? {
            job_row::remove(db, letter.job.id)?;
        }
    }
    let mut jobs = Vec::with_capacity(commit.jobs.len());
    for new in commit.jobs {
        let (id, more) = put_job(session, link, new, now)?;
        jobs.push(id);
        counted += more;
    }
    let db = &session.db;
    if let Some((side, cursor)) = &commit.cursor {
        links::put_cursor(db, link, *side, cursor.as_ref())?;
    }
    if let Some((side, epoch)) = commit.epoch {
        links::put_epoch(db, link, side, epoch)?;
    }
    if let Some(once) = &commit.once {
        kv::put(db, once::SPACE, &once.name, &once::kept(&jobs), Some(once.until))?;
    }
    history::tell(db, link, &commit.history)?;
    sent::answer(db, &commit.answered)?;
    links::count(db, link, growth, counted)?;
    Ok(Committed { stale, jobs })
}

/// Stores and forgets pairs; gives the keys of those that had moved on, and the growth.
fn put_pairs(session: &mut Session, link: LinkId, commit: &Commit) -> Fallible<(Vec<Key>, Growth)> {
    let load: Option<LoadId> = commit.load;
    let mut writing = Writing::new(&session.db, &mut session.shapes, link)?;
    let mut stale = Vec::new();
    for pair in &commit.pairs {
        if !writing.put(pair, load)? {
            stale.push(pair.key.clone());
        }
    }
    for (key, version) in &commit.forgotten {
        if !writing.forget(key, *version)? {
            stale.push(key.clone());
        }
    }
    Ok((stale, writing.growth))
}

/// Lets wanted work take over the job that stands for it, or be one; gives its id.
fn put_job(session: &Session, link: LinkId, new: NewJob, now: Timestamp) -> Fallible<(i64, Counters)> {
    let db = &session.db;
    if let Some(mut row) = job_row::active(db, link, new.direction, &new.key)? {
        let counted = row.coalesce(new, now);
        job_row::update(db, &row)?;
        return Ok((row.job.id, counted));
    }
    if new.state == JobState::Dead
        && new.origin == Origin::Sync
        && let Some(mut row) = job_row::dead_sync(db, link, new.direction, &new.key)?
    {
        let counted = row.bury_again(new, now);
        job_row::update(db, &row)?;
        return Ok((row.job.id, counted));
    }
    let (row, counted) = Row::born(link, new, now);
    Ok((job_row::insert(db, &row)?, counted))
}
