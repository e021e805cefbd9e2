//! `tidy`: the housekeeping. Dead letters are never pruned, unless a job has replayed them: they wait for a person.

use super::job_table::Jobs;
use super::trouble::Fallible;
use super::{Session, job_row};
use crate::engine::record::Timestamp;
use crate::store::ENDED_KEPT;

/// What one call prunes of each kind at most, so that no caller waits long for it.
const PRUNED_MAX: i64 = 10_000;

pub(super) fn tidy(session: &mut Session, now: Timestamp, force: bool) -> Fallible<()> {
    let Session { db, books, .. } = &mut *session;
    db.prepare_cached(
        "DELETE FROM kv WHERE (space, key) IN \
         (SELECT space, key FROM kv WHERE expires_at IS NOT NULL AND expires_at <= ?1 LIMIT ?2)",
    )?
    .execute((now.0, PRUNED_MAX))?;
    let kept_ms = i64::try_from(ENDED_KEPT.as_millis()).unwrap_or(i64::MAX);
    let ended = (now.0.saturating_sub(kept_ms), PRUNED_MAX);
    let ids = job_row::ids(db, "INDEXED BY jobs_ended WHERE ended_at < ?1 LIMIT ?2", ended)?;
    let mut jobs = Jobs::new(db, books);
    for id in ids {
        if let Some(row) = jobs.by_id(id)? {
            jobs.remove(&row)?;
        }
    }
    drop(jobs);
    session.checkpoint = Some(force);
    Ok(())
}
