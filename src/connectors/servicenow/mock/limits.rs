//! Rate limits: rules that somebody put into `sys_rate_limit_rules`, counted by the hour.

use super::catalogue::text_of;
use crate::connectors::mock::{Reply, Table};
use crate::engine::record::Timestamp;

const HOUR_MS: i64 = 3_600_000;

/// The hour that is being counted.
#[derive(Debug, Default)]
pub struct Hour {
    number: i64,
    requests: u64,
}

/// The strictest rule in force.
#[derive(Debug)]
pub struct Rule {
    pub id: String,
    pub limit: u64,
}

impl Rule {
    /// Finds the rule that counts; `None` where there is none, as on a fresh instance.
    pub fn find(table: &Table) -> Option<Self> {
        let rules = table.rows("sys_rate_limit_rules").filter_map(|(id, object)| {
            let limit = text_of(object, "limit_per_hour").parse().ok()?;
            (text_of(object, "active") == "true").then(|| Self { id: id.to_string(), limit })
        });
        rules.min_by_key(|rule| rule.limit)
    }

    /// Adds what a reply says of the limit.
    pub fn told(&self, reply: Reply, now: Timestamp) -> Reply {
        let ends = (now.0.div_euclid(HOUR_MS) + 1) * (HOUR_MS / 1000);
        reply
            .with_header("x-ratelimit-limit", self.limit.to_string())
            .with_header("x-ratelimit-reset", ends.to_string())
            .with_header("x-ratelimit-rule", self.id.clone())
    }
}

impl Hour {
    /// Counts a request; gives the seconds until the next hour where it is one too many.
    pub fn count(&mut self, rule: &Rule, now: Timestamp) -> Option<i64> {
        let number = now.0.div_euclid(HOUR_MS);
        if self.number != number {
            *self = Self { number, requests: 0 };
        }
        if self.requests >= rule.limit {
            return Some((HOUR_MS - now.0.rem_euclid(HOUR_MS)).div_euclid(1000) + 1);
        }
        self.requests += 1;
        None
    }
}
