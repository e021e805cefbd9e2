//! What requests count: kept beside their rows, and written once a transaction.
//!
//! Invariant: after a commit the counters of a link and the depths of its queue are what the rows say. What is undone
//! was never counted.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::job_row::direction_code;
use super::links;
use super::sheaves::Growth;
use super::trouble::Fallible;
use crate::engine::job::JobState;
use crate::engine::record::Direction;
use crate::store::{Counters, LinkId};

/// What the writer has counted and not yet written.
#[derive(Default)]
pub(super) struct Books {
    /// Of the requests of this transaction that are kept.
    kept: Page,
    /// Of the request that runs.
    open: Page,
    /// Links that were found; none is ever removed.
    found: BTreeSet<LinkId>,
}

#[derive(Default)]
struct Page {
    links: BTreeMap<LinkId, OfLink>,
    /// The last number that a job was given, where one was.
    last_job: Option<i64>,
}

#[derive(Default)]
struct OfLink {
    pairs: i64,
    counted: Counters,
    /// By how many jobs a direction and a state have grown.
    depths: BTreeMap<(u8, u8), i64>,
}

impl Page {
    fn add(&mut self, more: Self) {
        self.last_job = more.last_job.or(self.last_job);
        for (link, of) in more.links {
            let to = self.links.entry(link).or_default();
            to.pairs += of.pairs;
            to.counted += of.counted;
            of.depths.into_iter().for_each(|(place, by)| *to.depths.entry(place).or_default() += by);
        }
    }
}

impl Books {
    /// Refuses a number that no link has.
    pub fn must_exist(&mut self, db: &Connection, link: LinkId) -> Fallible<()> {
        if !self.found.contains(&link) {
            links::must_exist(db, link)?;
            self.found.insert(link);
        }
        Ok(())
    }

    /// Adds to the counters of a link and to the number of its pairs.
    pub fn count(
        &mut self,
        db: &Connection,
        link: LinkId,
        growth: Growth,
        counted: Counters,
    ) -> Fallible<()> {
        if growth.forgotten > 0 {
            // The next request of this transaction may make a pair anew, and reads it.
            links::put_forgotten(db, link, growth.forgotten)?;
        }
        if growth.pairs != 0 || counted != Counters::default() {
            let of = self.open.links.entry(link).or_default();
            of.pairs += growth.pairs;
            of.counted += counted;
        }
        Ok(())
    }

    /// Notes that a job has moved from one state to another; `None` stands for what is not counted.
    pub fn moved(
        &mut self,
        link: LinkId,
        direction: Direction,
        from: Option<JobState>,
        to: Option<JobState>,
    ) {
        if from == to {
            return;
        }
        let depths = &mut self.open.links.entry(link).or_default().depths;
        for (state, by) in [(from, -1), (to, 1)] {
            if let Some(state) = state {
                *depths.entry((direction_code(direction), state as u8)).or_default() += by;
            }
        }
    }

    /// Gives the number of a new job: one that none ever had.
    pub fn next_job(&mut self, db: &Connection) -> Fallible<i64> {
        let last = match self.open.last_job.or(self.kept.last_job) {
            Some(last) => last,
            None => db.prepare_cached("SELECT id FROM last_job")?.query_row([], |row| row.get(0))?,
        };
        let next = last + 1;
        self.open.last_job = Some(next);
        Ok(next)
    }

    /// Returns what is counted for a link and not yet written.
    pub fn unwritten(&self, link: LinkId) -> Counters {
        let mut counted = Counters::default();
        for page in [&self.kept, &self.open] {
            counted += page.links.get(&link).map(|of| of.counted).unwrap_or_default();
        }
        counted
    }

    /// Ends a request that is kept.
    pub fn keep(&mut self) {
        let open = std::mem::take(&mut self.open);
        if self.kept.links.is_empty() {
            self.kept = Page { last_job: open.last_job.or(self.kept.last_job), ..open };
        } else {
            self.kept.add(open);
        }
    }

    /// Ends a request that is undone.
    pub fn undo(&mut self) {
        self.open = Page::default();
        self.found.clear();
    }

    /// Forgets what a rollback has undone.
    pub fn rolled_back(&mut self) {
        self.kept = Page::default();
        self.undo();
    }

    /// Writes what the requests of a transaction have counted, before its commit.
    pub fn write(&mut self, db: &Connection) -> Fallible<()> {
        let kept = std::mem::take(&mut self.kept);
        for (link, of) in kept.links {
            links::add(db, link, of.pairs, of.counted)?;
            for ((direction, state), by) in of.depths.into_iter().filter(|(_, by)| *by != 0) {
                db.prepare_cached(
                    "INSERT INTO depths (link, direction, state, jobs) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs",
                )?
                .execute((link.0, direction, state, by))?;
            }
        }
        if let Some(last) = kept.last_job {
            db.prepare_cached("UPDATE last_job SET id = ?1")?.execute([last])?;
        }
        Ok(())
    }
}
