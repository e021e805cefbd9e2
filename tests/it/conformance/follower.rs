//! A reader that believes what a source shows.

use super::*;

/// A tiny runtime: it reads as the poller does and keeps what it believes to stand there.
pub struct Follower<'h> {
    harness: &'h dyn Harness,
    pub(super) source: Box<dyn Source>,
    pub(super) deletes: Deletes,
    pub cursor: Option<Cursor>,
    pub rows: BTreeMap<Key, Row>,
    ids: BTreeMap<RemoteId, Key>,
    /// Changes that the last pass showed.
    pub changes: usize,
}

impl<'h> Follower<'h> {
    pub fn new(harness: &'h dyn Harness) -> Self {
        let (system, spec) = (harness.system(), harness.spec());
        Self {
            harness,
            source: system.source(&spec).expect("a source"),
            deletes: system.features(&spec).deletes,
            cursor: None,
            rows: BTreeMap::new(),
            ids: BTreeMap::new(),
            changes: 0,
        }
    }

    /// Starts again with the same memory, as after a crash between two pages.
    pub fn restart(&mut self) {
        self.source = self.harness.system().source(&self.harness.spec()).expect("a source");
    }

    /// Reads until there is no more, and takes out what is gone.
    pub async fn pass(&mut self, limit: usize) {
        self.changes = 0;
        if self.deletes == Deletes::Scanned {
            self.cursor = None;
        }
        let mut seen = BTreeSet::new();
        for _ in 0..100_000 {
            let end = self.page(limit, &mut seen).await;
            match (end, self.deletes) {
                (End::More, _) => continue,
                (End::CaughtUp, Deletes::Scanned) => panic!("a scanned stream has to prove its end"),
                (End::Complete, Deletes::Scanned) => self.keep(&seen),
                (_, Deletes::Listed) => self.list(limit).await,
                (_, _) => {}
            }
            return;
        }
        panic!("the read does not come to an end");
    }

    /// Reads one page and learns from it.
    pub async fn page(&mut self, limit: usize, seen: &mut BTreeSet<Key>) -> End {
        let page = self.source.read(self.cursor.as_ref(), limit, &call()).await.expect("a page");
        self.changes += page.changes.len();
        for change in page.changes {
            match change {
                Change::Upsert(record) => {
                    let row = row_of(&record, self.harness.fields());
                    let key = key_of(&row.key);
                    if let Some(id) = record.meta.id {
                        self.ids.insert(id, key.clone());
                    }
                    seen.insert(key.clone());
                    self.rows.insert(key, row);
                }
                Change::Delete(tombstone) => {
                    let key =
                        tombstone.key.or_else(|| tombstone.id.and_then(|id| self.ids.get(&id).cloned()));
                    if let Some(key) = key {
                        self.rows.remove(&key);
                    }
                }
                Change::Malformed(malformed) => panic!("malformed: {}", malformed.reason),
            }
        }
        if page.end == End::More {
            assert!(page.cursor.is_some(), "there is more, but no cursor to go on from");
        }
        if page.cursor.is_some() {
            self.cursor = page.cursor;
        }
        if let Some(cursor) = &self.cursor {
            self.source.ack(cursor).await.expect("an ack");
        }
        page.end
    }

    async fn list(&mut self, limit: usize) {
        let (mut listed, mut cursor) = (BTreeSet::new(), None);
        loop {
            let listing = self.source.list(cursor.as_ref(), limit, &call()).await.expect("a listing");
            listed.extend(listing.keys);
            cursor = listing.cursor;
            match listing.end {
                End::More => assert!(cursor.is_some(), "a listing that goes on has a cursor"),
                End::Complete => break,
                End::CaughtUp => panic!("a listing has to prove its end"),
            }
        }
        assert_eq!(self.sum(limit).await, summed(&listed), "the sum is that of the keys which are listed");
        let strangers: Vec<&Key> = listed.iter().filter(|key| !self.rows.contains_key(key)).collect();
        assert!(strangers.is_empty(), "listed, but never shown: {strangers:?}");
        self.keep(&listed);
    }

    async fn sum(&mut self, limit: usize) -> Presence {
        let (mut total, mut cursor) = (Presence::default(), None);
        loop {
            let summed = self.source.sum(cursor.as_ref(), limit, &call()).await.expect("a sum");
            total.merge(summed.presence);
            cursor = summed.cursor;
            if summed.end != End::More {
                return total;
            }
        }
    }

    fn keep(&mut self, alive: &BTreeSet<Key>) {
        self.rows.retain(|key, _| alive.contains(key));
    }

    pub fn believed(&self) -> Vec<Row> {
        sorted(self.rows.values().cloned())
    }
}

fn summed(keys: &BTreeSet<Key>) -> Presence {
    let mut total = Presence::default();
    keys.iter().for_each(|key| total.add(key.hash64()));
    total
}
