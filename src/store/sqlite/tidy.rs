//! `tidy`: the housekeeping. Dead letters are never pruned, unless a job has replayed them: they wait for a person.

use super::trouble::Fallible;
use super::{Session, job_row};
use crate::engine::record::Timestamp;
use crate::store::ENDED_KEPT;

/// What one call prunes of each kind at most, so that no caller waits long for it.
const PRUNED_MAX: i64 = 10_000;

pub(super) fn tidy(session: &mut Session, now: Timestamp, force: bool) -> Fallible<()> {
    let db = &session.db;
    db.prepare_cached(
        "DELETE FROM kv WHERE (space, key) IN \
         (SELECT space, key FROM kv WHERE expires_at IS NOT NULL AND expires_at <= ?1 LIMIT ?2)",
    )?
    .execute((now.0, PRUNED_MAX))?;
    let kept_ms = i64::try_from(ENDED_KEPT.as_millis()).unwrap_or(i64::MAX);
    for ended in [
        "INDEXED BY jobs_ended WHERE state IN (5, 7) AND updated_at < ?1 LIMIT ?2",
        "INDEXED BY jobs_answered WHERE state = 6 AND replayed_by IS NOT NULL AND updated_at < ?1 LIMIT ?2",
    ] {
        for id in job_row::ids(db, ended, (now.0.saturating_sub(kept_ms), PRUNED_MAX))? {
            job_row::remove(db, id)?;
        }
    }
    session.checkpoint = Some(force);
    Ok(())
}
