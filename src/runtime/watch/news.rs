//! What notifications have told and nobody has looked at yet.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::runtime::link::lock;

/// Paths that are kept; those beyond are made up for by a look at everything.
const PATHS_MAX: usize = 1_024;

/// Paths under which something happened, each once however often it was told: a database that is being written tells of
/// every page.
#[derive(Debug, Default)]
pub(super) struct News {
    heard: Mutex<Heard>,
    call: Condvar,
}

/// What was heard since somebody asked last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub paths: HashSet<PathBuf>,
    /// Something was told that is not among them.
    pub missed: bool,
}

impl Heard {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.missed
    }
}

impl News {
    /// Takes note of an event.
    pub fn tell(&self, event: notify::Event) {
        let mut heard = lock(&self.heard);
        heard.missed |= event.need_rescan();
        for path in event.paths {
            if heard.paths.contains(&path) {
                continue;
            }
            if heard.paths.len() < PATHS_MAX {
                heard.paths.insert(path);
            } else {
                heard.missed = true;
            }
        }
        drop(heard);
        self.call.notify_one();
    }

    /// Takes note that something happened, nobody knows where.
    pub fn miss(&self) {
        lock(&self.heard).missed = true;
        self.call.notify_one();
    }

    /// Gives what was heard, at once or as soon as something is, after `limit` at the latest.
    pub fn wait(&self, limit: Duration) -> Heard {
        let heard = lock(&self.heard);
        let waited = self.call.wait_timeout_while(heard, limit, |heard| heard.is_empty());
        let (mut heard, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::take(&mut *heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(paths: &[&str]) -> notify::Event {
        let event = notify::Event::new(notify::EventKind::Any);
        paths.iter().fold(event, |event, path| event.add_path(path.into()))
    }

    #[test]
    fn what_is_told_often_is_heard_once_and_again_only_when_it_is_told_again() {
        let news = News::default();
        (0..3).for_each(|_| news.tell(told(&["/a/one", "/a/two"])));
        let heard = news.wait(Duration::ZERO);
        assert_eq!(heard.paths, HashSet::from(["/a/one".into(), "/a/two".into()]));
        assert!(!heard.missed);
        assert!(news.wait(Duration::ZERO).is_empty(), "nothing more was told");
        news.tell(told(&["/a/one"]));
        assert_eq!(news.wait(Duration::ZERO).paths.len(), 1, "it happened again");
    }

    #[test]
    fn more_than_can_be_kept_counts_as_missed() {
        let news = News::default();
        (0..=PATHS_MAX).for_each(|path| news.tell(told(&[&format!("/a/{path}")])));
        let heard = news.wait(Duration::ZERO);
        assert_eq!((heard.paths.len(), heard.missed), (PATHS_MAX, true));
        news.miss();
        assert!(news.wait(Duration::ZERO).missed);
    }
}
