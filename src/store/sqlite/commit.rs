//! `commit`: everything that one page, or one push, decided.

use super::job_table::Jobs;
use super::sheaves::{Growth, Writing};
use super::trouble::Fallible;
use super::{Session, history, kv, links, sent};
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
    session.books.must_exist(&session.db, link)?;
    let (stale, growth) = put_pairs(session, link, &commit)?;
    if !stale.is_empty() {
        session.undo = true;
        return Ok(Committed { stale, jobs: Vec::new() });
    }
    let Session { db, books, .. } = session;
    let db = &*db;
    let mut counted = commit.counted;
    let mut table = Jobs::new(db, books);
    for (direction, key) in &commit.obsolete {
        let standing = table.active(link, *direction, key)?;
        if let Some(mut row) = standing {
            if row.job.origin == Origin::Sync && row.job.state != JobState::Leased {
                table.remove(&row)?;
                counted.superseded += 1;
            } else if row.is_parked() {
                let moved = row.settle(Transition::Obsolete, None, true, now);
                table.carry_out(&row, moved)?;
            }
        }
        while let Some(letter) = table.dead_sync(link, *direction, key)? {
            table.remove(&letter)?;
        }
    }
    let mut jobs = Vec::with_capacity(commit.jobs.len());
    for new in commit.jobs {
        let (id, more) = put_job(&mut table, link, new, now)?;
        jobs.push(id);
        counted += more;
    }
    drop(table);
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
    books.count(db, link, growth, counted)?;
    Ok(Committed { stale, jobs })
}

/// Stores and forgets pairs; gives the keys of those that had moved on, and the growth.
fn put_pairs(session: &mut Session, link: LinkId, commit: &Commit) -> Fallible<(Vec<Key>, Growth)> {
    let load: Option<LoadId> = commit.load;
    let mut writing = Writing::new(&session.db, &mut session.shapes, link);
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
    // What is not stored is taken back anyway.
    let growth = if stale.is_empty() { writing.finish()? } else { Growth::default() };
    Ok((stale, growth))
}

/// Lets wanted work take over the job that stands for it, or be one; gives its id.
fn put_job(jobs: &mut Jobs<'_>, link: LinkId, new: NewJob, now: Timestamp) -> Fallible<(i64, Counters)> {
    if let Some(mut row) = jobs.active(link, new.direction, &new.key)? {
        let counted = row.coalesce(new, now);
        jobs.update(&row)?;
        return Ok((row.job.id, counted));
    }
    if new.state == JobState::Dead
        && new.origin == Origin::Sync
        && let Some(mut row) = jobs.dead_sync(link, new.direction, &new.key)?
    {
        let counted = row.bury_again(new, now);
        jobs.update(&row)?;
        return Ok((row.job.id, counted));
    }
    let (row, counted) = Row::born(link, new, now);
    Ok((jobs.insert(&row)?, counted))
}
