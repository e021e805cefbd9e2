//! Requests that must not be carried out twice: the numbers of the jobs that one has made are kept with the jobs
//! themselves, so that whoever repeats it after a crash finds them.

use super::{Store, StoreError};
use crate::engine::record::Timestamp;

/// Where they are kept among the small values.
pub(super) const SPACE: &str = "once";

/// The name under which the jobs of one request are found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    pub name: String,
    pub until: Timestamp,
}

impl Once {
    /// Names a part of the request, which is stored by itself.
    pub fn part(&self, number: usize) -> Self {
        Self { name: format!("{}#{number}", self.name), until: self.until }
    }

    /// Finds the jobs that were made under this name.
    pub async fn made(&self, store: &dyn Store, now: Timestamp) -> Result<Option<Vec<i64>>, StoreError> {
        let kept = store.get(SPACE, &self.name, now).await?;
        Ok(kept.and_then(|kept| serde_json::from_str(&kept).ok()))
    }
}

/// Writes numbers as they are kept.
pub(super) fn kept(jobs: &[i64]) -> String {
    serde_json::Value::from(jobs).to_string()
}
