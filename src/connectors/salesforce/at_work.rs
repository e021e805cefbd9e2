//! Bulk jobs of ours that may be writing, by their object.
//!
//! Invariant: a job stands here before it can begin, and until the service has said that it is over. Several may
//! stand for one object: each road of each link makes its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::org::lock;

/// The jobs of an org.
#[derive(Default)]
pub struct AtWork {
    /// By the object's name in lower case, then by id; whether somebody here sees to its end.
    objects: Mutex<HashMap<String, BTreeMap<String, bool>>>,
    /// Those of an earlier process are among them.
    has_earlier: AtomicBool,
}

/// A job whose maker sees to its end. Dropped before that, it is left to whoever comes next.
pub struct Held<'j> {
    jobs: &'j AtWork,
    object: String,
    pub id: String,
}

impl AtWork {
    /// Takes in a job that is about to begin.
    pub fn hold(&self, object: &str, id: &str) -> Held<'_> {
        let object = object.to_lowercase();
        lock(&self.objects).entry(object.clone()).or_default().insert(id.to_owned(), true);
        Held { jobs: self, object, id: id.to_owned() }
    }

    /// Takes in jobs (object, id) of an earlier process, and remembers that these are all.
    pub fn take_up(&self, found: Vec<(String, String)>) {
        let mut objects = lock(&self.objects);
        for (object, id) in found {
            // One that was made here since is in its maker's hands.
            objects.entry(object.to_lowercase()).or_default().entry(id).or_insert(false);
        }
        self.has_earlier.store(true, Ordering::Release);
    }

    /// Tells whether those of an earlier process are known.
    pub fn has_earlier(&self) -> bool {
        self.has_earlier.load(Ordering::Acquire)
    }

    /// Lists the jobs of an object, each with whether somebody here sees to its end.
    pub fn of(&self, object: &str) -> Vec<(String, bool)> {
        let objects = lock(&self.objects);
        let jobs = objects.get(&object.to_lowercase()).into_iter().flatten();
        jobs.map(|(id, is_held)| (id.clone(), *is_held)).collect()
    }

    /// Forgets a job that is over.
    pub fn end(&self, object: &str, id: &str) {
        let mut objects = lock(&self.objects);
        let object = object.to_lowercase();
        if let Some(jobs) = objects.get_mut(&object) {
            jobs.remove(id);
            if jobs.is_empty() {
                objects.remove(&object);
            }
        }
    }
}

impl Held<'_> {
    /// Forgets the job: it is over, or will never begin.
    pub fn end(&self) {
        self.jobs.end(&self.object, &self.id);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut objects = lock(&self.jobs.objects);
        if let Some(is_held) = objects.get_mut(&self.object).and_then(|jobs| jobs.get_mut(&self.id)) {
            *is_held = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_maker_ends_its_own_job_and_leaves_it_otherwise() {
        let jobs = AtWork::default();
        let (one, other) = (jobs.hold("Contact", "750A"), jobs.hold("contact", "750B"));
        one.end();
        drop(one);
        assert_eq!(jobs.of("Contact"), [("750B".to_owned(), true)], "the other is still at work");
        drop(other);
        assert_eq!(jobs.of("Contact"), [("750B".to_owned(), false)], "nobody knows its end");
        assert!(!jobs.has_earlier());
        let third = jobs.hold("Contact", "750C");
        let found = ["750B", "750C", "750D"].map(|id| ("CONTACT".to_owned(), id.to_owned()));
        jobs.take_up(found.into());
        let held: Vec<bool> = jobs.of("Contact").into_iter().map(|(_, is_held)| is_held).collect();
        assert_eq!(held, [false, true, false], "what is found is not taken out of its maker's hands");
        assert!(jobs.has_earlier() && jobs.of("Account").is_empty());
        third.end();
        ["750B", "750D"].iter().for_each(|id| jobs.end("Contact", id));
        assert!(jobs.of("Contact").is_empty());
    }
}
