//! Which jobs and events are meant.

use super::LinkId;
use crate::engine::fault::FaultCode;
use crate::engine::job::JobState;
use crate::engine::record::{Direction, Key, Timestamp};

/// Which jobs to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub link: Option<LinkId>,
    pub direction: Option<Direction>,
    pub state: Option<JobState>,
    pub key: Option<Key>,
    /// Only of these links.
    pub links: Option<Vec<LinkId>>,
    /// Only with this error.
    pub code: Option<FaultCode>,
    /// Only dead letters that no job has replayed.
    pub unanswered: bool,
    /// Last moved at this moment or later.
    pub from: Option<Timestamp>,
    /// Last moved before this moment.
    pub to: Option<Timestamp>,
    /// Only ids below this one.
    pub before: Option<i64>,
    pub limit: usize,
}

impl JobFilter {
    /// Asks for the dead letters that wait for somebody.
    pub fn letters() -> Self {
        Self { state: Some(JobState::Dead), unanswered: true, ..Self::default() }
    }
}

/// Which events to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct HistoryFilter {
    pub link: Option<LinkId>,
    pub key: Option<Key>,
    pub run: Option<String>,
    pub rules_version: Option<u32>,
    /// Not before this moment.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    /// Only confirmed writes.
    pub written: bool,
    /// Only ids below this one.
    pub before: Option<i64>,
    pub limit: usize,
}
