//! What a system may expect of our breaker, by its policy alone: nothing while it is to be left alone, one
//! probe at a time after that.
//!
//! Only the first process of a history is watched: a later one begins with what the last one stored in time,
//! which nobody outside can know.

use std::collections::VecDeque;

/// As `Setup::settings` configures it.
pub const FAILURES: u32 = 5;
pub const OPEN_MS: i64 = 2_000;
/// The defaults of what it does not.
const CALLS: usize = 50;
const CALLS_MIN: usize = 20;
/// Good probes that end it; each failed one begins it anew.
const PROBES: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: i64 },
    Half { good: u32 },
}

pub struct Breaker {
    state: State,
    /// A call counts only in the state in which it left.
    epoch: u64,
    under_way: u32,
    /// Whether the last calls failed.
    results: VecDeque<bool>,
    in_a_row: u32,
}

impl Breaker {
    pub fn new() -> Self {
        Self { state: State::Closed, epoch: 0, under_way: 0, results: VecDeque::new(), in_a_row: 0 }
    }

    /// A call leaves; an error where it should not have.
    pub fn sends(&mut self, now: i64) -> Result<u64, String> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(format!("a call {} ms before the system is to be tried again", until - now));
            }
            self.enter(State::Half { good: 0 });
        }
        if matches!(self.state, State::Half { .. }) && self.under_way > 0 {
            return Err("more than one call tries whether the system is back".to_owned());
        }
        self.under_way += 1;
        Ok(self.epoch)
    }

    /// A call ends; `None` where nobody learnt how.
    pub fn ends(&mut self, epoch: u64, failed: Option<bool>, now: i64) {
        if epoch != self.epoch {
            return;
        }
        self.under_way -= 1;
        let Some(failed) = failed else { return };
        self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
        match self.state {
            State::Half { .. } if failed => self.enter(State::Open { until: now + OPEN_MS }),
            State::Half { good } if good + 1 >= PROBES => self.enter(State::Closed),
            State::Half { good } => self.state = State::Half { good: good + 1 },
            State::Closed => {
                self.results.push_back(failed);
                if self.results.len() > CALLS {
                    self.results.pop_front();
                }
                let bad = self.results.iter().filter(|failed| **failed).count();
                let often = self.results.len() >= CALLS_MIN && bad > 0 && 2 * bad >= self.results.len();
                // A call that went well opens nothing, also where it is the first that makes a rate of the others.
                if self.in_a_row >= FAILURES || failed && often {
                    self.enter(State::Open { until: now + OPEN_MS });
                }
            }
            State::Open { .. } => {}
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
        self.under_way = 0;
        self.results.clear();
    }
}
