//! What every connector promises, as tests: a connector is done when it passes them.
//!
//! A connector's test module implements [`Harness`] and says `conformance!(make);`, where `make` is
//! an `async fn() -> impl Harness` that gives a fresh, empty stream each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use record_sync::connectors::{
    Batch, Call, Class, Deletes, Delivery, Destination, End, Gate, Outcome, Report, Source, StreamSpec,
    System, Wanted, Write,
};
use record_sync::engine::fault::{Fault, FaultKind};
use record_sync::engine::record::{Change, Cursor, Key, Record, RemoteId, Schema, Value};

/// One system with a stream of three text fields, and a back door that the connector knows nothing of.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the system anew on the same data, as after a restart.
    fn system(&self) -> Arc<dyn System>;

    /// The stream; its key is the first of [`Self::fields`].
    fn spec(&self) -> StreamSpec;

    /// Names of the key, of `name` and of `email` in the stream.
    fn fields(&self) -> [&'static str; 3] {
        ["record_id", "name", "email"]
    }

    /// A spec whose stream or key field does not exist and must be refused; `None` where the
    /// system makes everything up on first use.
    fn unknown(&self) -> Option<StreamSpec> {
        None
    }

    /// Texts that the system can't hold as they are (NUL, say) and that are left out of the tests.
    fn unfit(&self, _text: &str) -> bool {
        false
    }

    /// A row that the system itself refuses while it takes its neighbours; `None` where it takes all.
    fn poison(&self) -> Option<Row> {
        None
    }

    /// Puts rows in past the connector, as somebody else's edit.
    async fn insert(&self, rows: &[Row]);
    /// Changes `name` and `email` of rows past the connector.
    async fn update(&self, rows: &[Row]);
    /// Takes rows out past the connector.
    async fn delete(&self, keys: &[String]);
    /// Reads what stands there, past the connector.
    async fn read_all(&self) -> Vec<Row>;

    /// Lets as much time pass as the system needs to show what was just done.
    async fn settle(&self) {}
}

/// A record as the back door sees it; a null or missing field is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub key: String,
    pub name: String,
    pub email: String,
}

impl Row {
    pub fn new(key: impl Into<String>, name: impl Into<String>, email: impl Into<String>) -> Self {
        Self { key: key.into(), name: name.into(), email: email.into() }
    }

    /// Makes a plausible row out of a number.
    pub fn numbered(number: usize) -> Self {
        Self::new(format!("k{number:05}"), format!("Name {number}"), format!("n{number}@example.test"))
    }

    fn values(&self) -> Vec<Value> {
        vec![Value::text(&self.key), Value::text(&self.name), Value::text(&self.email)]
    }
}

/// Writes one test for each promise.
#[macro_export]
macro_rules! conformance {
    ($make:path) => {
        $crate::conformance!(@each $make:
            a_stream_describes_itself
            what_is_not_there_is_refused_with_a_remedy
            an_empty_stream_ends_at_once
            every_record_is_read_once_whatever_the_page
            a_cursor_outlives_its_source
            a_foreign_cursor_is_a_fault
            edits_deletions_and_returns_are_seen
            a_random_history_is_followed
            records_that_come_while_a_read_is_under_way_are_not_lost
            an_edit_is_never_slept_through
            creates_updates_and_deletes_arrive
            an_update_leaves_other_fields_alone
            a_repeated_write_changes_nothing
            what_moved_is_not_overwritten
            one_bad_record_fails_alone
            odd_texts_come_through
            what_was_written_is_read_back_as_stored
            look_ups_answer_in_order
            a_load_shows_all_or_nothing
        );
    };
    (@each $make:path: $($check:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                $crate::conformance::$check(&$make().await).await;
            }
        )*
    };
}

/// A gate that lets everything through.
pub struct FreeGate;

#[async_trait]
impl Gate for FreeGate {
    async fn enter(&self, _class: Class) -> Result<u64, Fault> {
        Ok(0)
    }

    fn leave(&self, _ticket: u64, _report: Report) {}
}

pub fn call() -> Call {
    Call { class: Class::Live, correlation_id: "conformance".to_owned() }
}

fn key_of(text: &str) -> Key {
    Key::from_text(text).expect("a fit key")
}

fn shape(harness: &impl Harness) -> Arc<Schema> {
    Schema::new(harness.fields())
}

fn sorted(rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.into_iter().collect();
    rows.sort();
    rows
}

async fn standing(harness: &impl Harness) -> Vec<Row> {
    sorted(harness.read_all().await)
}

fn plain(record: &Record, field: &str) -> String {
    record.get(field).to_plain().map(String::from).unwrap_or_default()
}

fn row_of(record: &Record, fields: [&str; 3]) -> Row {
    Row::new(plain(record, fields[0]), plain(record, fields[1]), plain(record, fields[2]))
}

/// A tiny runtime: it reads as the poller does and keeps what it believes to stand there.
pub struct Follower<'h> {
    harness: &'h dyn Harness,
    source: Box<dyn Source>,
    deletes: Deletes,
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
        let strangers: Vec<&Key> = listed.iter().filter(|key| !self.rows.contains_key(key)).collect();
        assert!(strangers.is_empty(), "listed, but never shown: {strangers:?}");
        self.keep(&listed);
    }

    fn keep(&mut self, alive: &BTreeSet<Key>) {
        self.rows.retain(|key, _| alive.contains(key));
    }

    pub fn believed(&self) -> Vec<Row> {
        sorted(self.rows.values().cloned())
    }
}

/// The writing end with the ids that it gave out.
struct Writer<'h, H: Harness> {
    harness: &'h H,
    destination: Arc<dyn Destination>,
    shape: Arc<Schema>,
}

impl<'h, H: Harness> Writer<'h, H> {
    fn new(harness: &'h H) -> Self {
        let destination = harness.system().destination(&harness.spec()).expect("a destination");
        Self { harness, destination, shape: shape(harness) }
    }

    async fn write(&self, deliveries: Vec<Delivery>) -> Vec<Outcome> {
        let count = deliveries.len();
        let batch = Batch { shape: Arc::clone(&self.shape), deliveries };
        let outcomes = self.destination.write(&batch, &call()).await.expect("the call itself works");
        assert_eq!(outcomes.len(), count, "one outcome a delivery");
        self.harness.settle().await;
        outcomes
    }

    /// Looks the record up and fills its id in, as the worker does from the pair.
    async fn delivery(&self, key: &str, write: Write) -> Delivery {
        let found = self.look_up(key).await;
        let (id, revision) = found.map(|record| (record.meta.id, record.meta.revision)).unwrap_or_default();
        Delivery { key: key_of(key), id, write, expected: None, revision }
    }

    async fn look_up(&self, key: &str) -> Option<Record> {
        let wanted = [Wanted { key: key_of(key), id: None }];
        let mut found = self.destination.look_up(&wanted, &call()).await.expect("the call itself works");
        assert_eq!(found.len(), 1, "one answer a question");
        found.pop().flatten()
    }
}

fn create(row: &Row) -> Delivery {
    Delivery {
        key: key_of(&row.key),
        id: None,
        write: Write::Create(row.values()),
        expected: None,
        revision: None,
    }
}

fn delivered(outcomes: &[Outcome]) {
    for (at, outcome) in outcomes.iter().enumerate() {
        assert!(matches!(outcome, Outcome::Delivered { .. }), "delivery {at}: {outcome:?}");
    }
}

pub async fn a_stream_describes_itself(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1)]).await;
    harness.settle().await;
    let info = harness.system().describe(&harness.spec(), &call()).await.expect("a description");
    for field in harness.fields() {
        assert!(info.open || info.fields.iter().any(|known| known == field), "{field}: {info:?}");
    }
}

pub async fn what_is_not_there_is_refused_with_a_remedy(harness: &impl Harness) {
    let Some(unknown) = harness.unknown() else { return };
    let fault = harness.system().describe(&unknown, &call()).await.expect_err("it is not there");
    assert_eq!(fault.kind, FaultKind::Fatal, "{fault}");
    assert!(fault.remedy.is_some(), "{fault}");
}

pub async fn an_empty_stream_ends_at_once(harness: &impl Harness) {
    let mut follower = Follower::new(harness);
    follower.pass(10).await;
    assert!(follower.rows.is_empty());
    follower.pass(10).await;
    assert_eq!(follower.changes, 0);
}

pub async fn every_record_is_read_once_whatever_the_page(harness: &impl Harness) {
    let rows: Vec<Row> = (0..25).map(Row::numbered).collect();
    harness.insert(&rows).await;
    harness.settle().await;
    // The second reading ends just on a page's end, the last far before it.
    for limit in [1, 5, 7, 1_000] {
        let mut follower = Follower::new(harness);
        follower.pass(limit).await;
        assert_eq!(follower.believed(), rows, "pages of {limit}");
        assert_eq!(follower.changes, rows.len(), "pages of {limit}: none twice");
    }
}

pub async fn a_cursor_outlives_its_source(harness: &impl Harness) {
    let rows: Vec<Row> = (0..12).map(Row::numbered).collect();
    harness.insert(&rows).await;
    harness.settle().await;
    let (mut follower, mut seen) = (Follower::new(harness), BTreeSet::new());
    for _ in 0..100 {
        if follower.page(5, &mut seen).await != End::More {
            break;
        }
        follower.restart();
    }
    assert_eq!(follower.believed(), rows);
}

pub async fn a_foreign_cursor_is_a_fault(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1)]).await;
    let mut source = harness.system().source(&harness.spec()).expect("a source");
    for text in ["", "}{", "\u{0}", "{\"foreign\":1}"] {
        let cursor = Cursor(text.to_owned());
        let page = source.read(Some(&cursor), 10, &call()).await;
        assert!(page.is_err(), "{text:?} is no cursor of this source: {page:?}");
    }
}

pub async fn edits_deletions_and_returns_are_seen(harness: &impl Harness) {
    harness.insert(&(0..6).map(Row::numbered).collect::<Vec<_>>()).await;
    harness.settle().await;
    let mut follower = Follower::new(harness);
    follower.pass(4).await;

    harness.update(&[Row::new("k00002", "Changed", "changed@example.test")]).await;
    harness.delete(&["k00004".to_owned()]).await;
    harness.insert(&[Row::numbered(9)]).await;
    harness.settle().await;
    follower.pass(4).await;
    assert_eq!(follower.believed(), standing(harness).await, "an update, a deletion, a new record");

    harness.insert(&[Row::new("k00004", "Back", "again@example.test")]).await;
    harness.settle().await;
    follower.restart();
    follower.pass(4).await;
    assert_eq!(follower.believed(), standing(harness).await, "what was deleted came back");
}

pub async fn a_random_history_is_followed(harness: &impl Harness) {
    let mut random = Random(7);
    let mut alive: BTreeSet<usize> = BTreeSet::new();
    let mut follower = Follower::new(harness);
    for round in 0..12 {
        for _ in 0..random.below(6) {
            let number = random.below(15);
            let row = Row { name: format!("Round {round}"), ..Row::numbered(number) };
            match (alive.contains(&number), random.below(3)) {
                (false, _) => {
                    harness.insert(&[row]).await;
                    alive.insert(number);
                }
                (true, 0) => {
                    harness.delete(&[row.key]).await;
                    alive.remove(&number);
                }
                (true, _) => harness.update(&[row]).await,
            }
        }
        harness.settle().await;
        if random.below(3) == 0 {
            follower.restart();
        }
        follower.pass(1 + random.below(6)).await;
        assert_eq!(follower.believed(), standing(harness).await, "round {round}");
    }
}

pub async fn records_that_come_while_a_read_is_under_way_are_not_lost(harness: &impl Harness) {
    harness.insert(&(10..20).map(Row::numbered).collect::<Vec<_>>()).await;
    harness.settle().await;
    let (mut follower, mut seen) = (Follower::new(harness), BTreeSet::new());
    follower.page(4, &mut seen).await;
    harness.insert(&[Row::numbered(1), Row::numbered(15_000), Row::numbered(99_999)]).await;
    harness.delete(&["k00019".to_owned()]).await;
    harness.settle().await;
    for _ in 0..100 {
        if follower.page(4, &mut seen).await != End::More {
            break;
        }
    }
    follower.pass(4).await;
    assert_eq!(follower.believed(), standing(harness).await);
}

pub async fn an_edit_is_never_slept_through(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1)]).await;
    harness.settle().await;
    let mut follower = Follower::new(harness);
    follower.pass(10).await;
    follower.source.may_have_changed();
    harness.update(&[Row::new("k00001", "Woken", "")]).await;
    harness.settle().await;
    assert!(follower.source.may_have_changed(), "somebody edited");
    follower.pass(10).await;

    // The same for what we wrote ourselves: another link may read it.
    follower.source.may_have_changed();
    let writer = Writer::new(harness);
    delivered(&writer.write(vec![create(&Row::numbered(2))]).await);
    assert!(follower.source.may_have_changed(), "our own writing end wrote");
    follower.pass(10).await;
    assert_eq!(follower.believed(), standing(harness).await);
}

pub async fn creates_updates_and_deletes_arrive(harness: &impl Harness) {
    let writer = Writer::new(harness);
    let rows: Vec<Row> = (0..4).map(Row::numbered).collect();
    delivered(&writer.write(rows.iter().map(create).collect()).await);
    assert_eq!(standing(harness).await, rows);

    let changed = Row::new("k00001", "Changed", "c@example.test");
    let batch = vec![
        writer.delivery("k00001", Write::Update(changed.values())).await,
        writer.delivery("k00002", Write::Delete).await,
        create(&Row::numbered(7)),
    ];
    delivered(&writer.write(batch).await);
    let expected = vec![Row::numbered(0), changed, Row::numbered(3), Row::numbered(7)];
    assert_eq!(standing(harness).await, expected);
}

pub async fn an_update_leaves_other_fields_alone(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1)]).await;
    harness.settle().await;
    let writer = Writer::new(harness);
    let only_name = vec![Value::text("k00001"), Value::text("Only the name"), Value::Absent];
    delivered(&writer.write(vec![writer.delivery("k00001", Write::Update(only_name)).await]).await);
    assert_eq!(standing(harness).await, [Row::new("k00001", "Only the name", "n1@example.test")]);
}

pub async fn a_repeated_write_changes_nothing(harness: &impl Harness) {
    let writer = Writer::new(harness);
    let once = writer.write(vec![create(&Row::numbered(1)), create(&Row::numbered(2))]).await;
    delivered(&once);
    let id = match &once[1] {
        Outcome::Delivered { id, .. } => id.clone(),
        _ => None,
    };
    if harness.system().features(&harness.spec()).upsert_by_key {
        delivered(&writer.write(vec![create(&Row::numbered(1))]).await);
    }
    assert_eq!(standing(harness).await, [Row::numbered(1), Row::numbered(2)]);
    let delete = Delivery { id, write: Write::Delete, ..create(&Row::numbered(2)) };
    delivered(&writer.write(vec![delete.clone()]).await);
    delivered(&writer.write(vec![delete]).await);
    assert_eq!(standing(harness).await, [Row::numbered(1)], "deleting what is gone is done");
}

pub async fn what_moved_is_not_overwritten(harness: &impl Harness) {
    if !harness.system().features(&harness.spec()).compare_and_set {
        return;
    }
    let moved = Row::new("k00001", "Somebody else", "n1@example.test");
    harness.insert(&[moved.clone(), Row::numbered(2)]).await;
    harness.settle().await;
    let writer = Writer::new(harness);
    let ours = |number: usize| {
        Write::Update(vec![Row::numbered(number).values()[0].clone(), Value::text("Ours"), Value::Absent])
    };
    let expected = |number: usize| Some(Row::numbered(number).values());
    let partly = vec![Value::Unknown, Value::text("Name 2"), Value::Absent];
    let batch = vec![
        Delivery { expected: expected(1), ..writer.delivery("k00001", ours(1)).await },
        Delivery { expected: Some(partly), ..writer.delivery("k00002", ours(2)).await },
        Delivery { expected: expected(1), ..writer.delivery("k00001", Write::Delete).await },
        Delivery { expected: expected(3), ..writer.delivery("k00003", ours(3)).await },
    ];
    let outcomes = writer.write(batch).await;
    for at in [0, 2] {
        match &outcomes[at] {
            Outcome::Stale(Some(record)) => assert_eq!(row_of(record, harness.fields()), moved),
            other => panic!("delivery {at} is stale: {other:?}"),
        }
    }
    delivered(&outcomes[1..2]);
    assert!(matches!(outcomes[3], Outcome::Stale(None)), "an update of nothing: {:?}", outcomes[3]);
    assert_eq!(standing(harness).await, [moved, Row::new("k00002", "Ours", "n2@example.test")]);

    let other = Row::new("k00002", "Not the same", "x@example.test");
    let outcomes = writer.write(vec![create(&other)]).await;
    assert!(matches!(outcomes[0], Outcome::Stale(Some(_))), "a create of what is there: {outcomes:?}");
}

pub async fn one_bad_record_fails_alone(harness: &impl Harness) {
    let Some(poison) = harness.poison() else { return };
    let writer = Writer::new(harness);
    let outcomes =
        writer.write(vec![create(&Row::numbered(1)), create(&poison), create(&Row::numbered(2))]).await;
    delivered(&outcomes[0..1]);
    delivered(&outcomes[2..3]);
    match &outcomes[1] {
        Outcome::Failed(fault) => assert_eq!(fault.kind, FaultKind::Rejected, "{fault}"),
        other => panic!("the poison is refused: {other:?}"),
    }
    assert_eq!(standing(harness).await, [Row::numbered(1), Row::numbered(2)]);
}

pub async fn odd_texts_come_through(harness: &impl Harness) {
    let texts = [
        "O'Hara \"quoted\" \\ back",
        "line\nbreak, and comma",
        "tab\there",
        "007",
        "9007199254740993",
        "true",
        "null",
        "1e5",
        "  spaces around  ",
        "Ünïcödé 日本語 🦀",
        "e\u{301} is not composed",
        "nul\u{0}inside",
        "<b>&amp;</b> %41 ${HOME}",
        "=SUM(A1)",
    ];
    let rows: Vec<Row> = texts
        .iter()
        .filter(|text| !harness.unfit(text))
        .enumerate()
        .map(|(at, text)| Row::new(format!("k{at:05}"), *text, "x@example.test"))
        .collect();
    let writer = Writer::new(harness);
    delivered(&writer.write(rows.iter().map(create).collect()).await);
    assert_eq!(standing(harness).await, rows, "as the back door sees them");
    let mut follower = Follower::new(harness);
    follower.pass(100).await;
    assert_eq!(follower.believed(), rows, "as the source reads them");
}

pub async fn what_was_written_is_read_back_as_stored(harness: &impl Harness) {
    let writer = Writer::new(harness);
    let row = Row::new("k00001", "Just as it is", "as@example.test");
    let outcomes = writer.write(vec![create(&row)]).await;
    let Outcome::Delivered { stored, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    let claimed = stored.as_ref().map_or(row, |record| row_of(record, harness.fields()));
    let mut follower = Follower::new(harness);
    follower.pass(10).await;
    assert_eq!(follower.believed(), [claimed], "an echo that is not what was claimed would travel back");
}

pub async fn look_ups_answer_in_order(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1), Row::numbered(2)]).await;
    harness.settle().await;
    let writer = Writer::new(harness);
    let wanted: Vec<Wanted> =
        ["k00002", "k00009", "k00001", "k00002"].map(|key| Wanted { key: key_of(key), id: None }).into();
    let found = writer.destination.look_up(&wanted, &call()).await.expect("the call itself works");
    let rows: Vec<Option<Row>> =
        found.iter().map(|record| record.as_ref().map(|record| row_of(record, harness.fields()))).collect();
    let expected = [Some(Row::numbered(2)), None, Some(Row::numbered(1)), Some(Row::numbered(2))];
    assert_eq!(rows, expected);
}

pub async fn a_load_shows_all_or_nothing(harness: &impl Harness) {
    if !harness.system().features(&harness.spec()).loads {
        return;
    }
    harness.insert(&[Row::numbered(1)]).await;
    harness.settle().await;
    let writer = Writer::new(harness);
    let staged: Vec<Delivery> = (2..5).map(|number| create(&Row::numbered(number))).collect();

    let mut load = writer.destination.open_load(&writer.shape).await.expect("a load");
    delivered(&load.stage(&staged).await.expect("staged"));
    drop(load);
    assert_eq!(standing(harness).await, [Row::numbered(1)], "a load that never ended left no trace");

    let mut load = writer.destination.open_load(&writer.shape).await.expect("a load");
    for delivery in &staged {
        delivered(&load.stage(std::slice::from_ref(delivery)).await.expect("staged"));
    }
    assert_eq!(standing(harness).await, [Row::numbered(1)], "nothing is shown early");
    load.finish().await.expect("the load ends");
    assert_eq!(standing(harness).await, (1..5).map(Row::numbered).collect::<Vec<_>>());
}

/// A small repeatable generator (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }
}
