//! The jobs of one transaction: each change of a row is told to the books.
//!
//! Invariant: nothing else writes rows of `jobs`, but for renewed leases.

use rusqlite::{CachedStatement, Connection};

use super::attempts;
use super::books::Books;
use super::job_row::{self, Stored, counted_as, direction_code, select_jobs};
use super::sheaves::{self, Growth};
use super::trouble::Fallible;
use crate::engine::job::JobState;
use crate::engine::record::{Direction, Key};
use crate::store::moves::{Moved, Row};
use crate::store::{Counters, LinkId};

/// Keeps its statements: to look one up costs a good part of a small change.
pub(super) struct Jobs<'db> {
    pub db: &'db Connection,
    pub books: &'db mut Books,
    by_id: Option<CachedStatement<'db>>,
    active: Option<CachedStatement<'db>>,
    insert: Option<CachedStatement<'db>>,
    update: Option<CachedStatement<'db>>,
    update_active: Option<CachedStatement<'db>>,
    lease: Option<CachedStatement<'db>>,
    remove: Option<CachedStatement<'db>>,
}

impl<'db> Jobs<'db> {
    pub fn new(db: &'db Connection, books: &'db mut Books) -> Self {
        Self {
            db,
            books,
            by_id: None,
            active: None,
            insert: None,
            update: None,
            update_active: None,
            lease: None,
            remove: None,
        }
    }

    /// Reads a job by its id.
    pub fn by_id(&mut self, id: i64) -> Fallible<Option<Stored>> {
        job_row::first_of(held(self.db, &mut self.by_id, select_jobs!("WHERE id = ?1"))?, [id])
    }

    /// Reads the active job of a (direction, key).
    pub fn active(&mut self, link: LinkId, direction: Direction, key: &Key) -> Fallible<Option<Stored>> {
        let query = select_jobs!(
            "INDEXED BY jobs_key WHERE key = ?1 AND link = ?2 AND direction = ?3 AND active = 1"
        );
        let select = held(self.db, &mut self.active, query)?;
        job_row::first_of(select, (key.as_bytes(), link.0, direction_code(direction)))
    }

    /// Reads the newest dead letter that the planner left for a (direction, key).
    pub fn dead_sync(&self, link: LinkId, direction: Direction, key: &Key) -> Fallible<Option<Stored>> {
        let query = select_jobs!(
            "INDEXED BY jobs_key WHERE key = ?1 AND link = ?2 AND direction = ?3 AND active IS NULL AND state = 6 \
             AND origin = 0 AND replayed_by IS NULL ORDER BY id DESC LIMIT 1"
        );
        let params = (key.as_bytes(), link.0, direction_code(direction));
        job_row::first_of(&mut self.db.prepare_cached(query)?, params)
    }

    /// Stores a new job and returns its id.
    pub fn insert(&mut self, row: &Row) -> Fallible<i64> {
        let id = self.books.next_job(self.db)?;
        let statement = held(self.db, &mut self.insert, job_row::INSERT)?;
        statement.raw_bind_parameter(1, id)?;
        job_row::bind_new(statement, row)?;
        statement.raw_execute()?;
        self.books.moved(row.link, row.job.direction, None, counted_as(row));
        Ok(id)
    }

    /// Stores what may have changed of a job.
    pub fn update(&mut self, row: &Stored) -> Fallible<()> {
        let statement = if row.was.is_active() == row.job.state.is_active() {
            held(self.db, &mut self.update, job_row::UPDATE)?
        } else {
            held(self.db, &mut self.update_active, job_row::UPDATE_ACTIVE)?
        };
        statement.raw_bind_parameter(1, row.job.id)?;
        job_row::bind_changing(statement, row)?;
        statement.raw_execute()?;
        self.books.moved(row.link, row.job.direction, row.counted_as, counted_as(row));
        Ok(())
    }

    /// Stores a job that was just leased.
    pub fn lease(&mut self, row: &Stored) -> Fallible<()> {
        if row.was != JobState::Pending {
            return self.update(row);
        }
        let statement = held(self.db, &mut self.lease, job_row::LEASE)?;
        job_row::bind_lease(statement, row)?;
        statement.raw_execute()?;
        self.books.moved(row.link, row.job.direction, row.counted_as, counted_as(row));
        Ok(())
    }

    /// Removes a job, and what is known of its tries.
    pub fn remove(&mut self, row: &Stored) -> Fallible<()> {
        let remove = held(self.db, &mut self.remove, "DELETE FROM jobs WHERE id = ?1")?;
        remove.raw_bind_parameter(1, row.job.id)?;
        remove.raw_execute()?;
        self.books.moved(row.link, row.job.direction, row.counted_as, None);
        // The try that is under way is remembered when it ends.
        let tried = row.fence > u64::from(row.was == JobState::Leased);
        if tried { attempts::forget(self.db, row.job.id) } else { Ok(()) }
    }

    /// Stores a moved job that stays, with all that the move means.
    pub fn carry_out(&mut self, row: &Stored, moved: Moved) -> Fallible<()> {
        self.update(row)?;
        attempts::remember(self.db, row.job.id, moved.attempt.as_ref())?;
        if let Some(next) = &moved.next {
            self.insert(next)?;
        }
        if let Some(mark) = moved.mark {
            sheaves::mark(self.db, row.link, &row.job.key, row.job.direction, mark)?;
        }
        self.count(row.link, moved.counted)
    }

    /// Adds to the counters of a link.
    pub fn count(&mut self, link: LinkId, counted: Counters) -> Fallible<()> {
        self.books.count(self.db, link, Growth::default(), counted)
    }
}

/// Returns a statement that is prepared at its first use.
fn held<'s, 'db>(
    db: &'db Connection,
    place: &'s mut Option<CachedStatement<'db>>,
    sql: &str,
) -> Fallible<&'s mut CachedStatement<'db>> {
    match place {
        Some(statement) => Ok(statement),
        vacant => Ok(vacant.insert(db.prepare_cached(sql)?)),
    }
}
