//! What every connector promises, as tests: a connector is done when it passes them.
//!
//! A connector's test module implements [`Harness`] and says `conformance!(make);`, where `make` is
//! an `async fn() -> impl Harness` that gives a fresh, empty stream each time.

mod changing;
mod follower;
mod reading;
mod writer;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use record_sync::connectors::{
    Batch, Call, Class, Deletes, Delivery, Destination, End, Gate, Outcome, Report, Source, StreamSpec,
    System, Wanted, Write,
};
use record_sync::engine::fault::{Fault, FaultKind};
use record_sync::engine::record::{Change, Cursor, Key, Number, Presence, Record, RemoteId, Schema, Value};

pub use changing::*;
pub use follower::Follower;
pub use reading::*;
use writer::{Writer, create, delivered};
pub use writing::*;

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
            rows_that_change_between_pages_end_as_they_stand
            an_audit_shows_all_and_moves_no_cursor
            an_edit_is_never_slept_through
            creates_updates_and_deletes_arrive
            an_update_leaves_other_fields_alone
            a_repeated_write_changes_nothing
            what_moved_is_not_overwritten
            one_bad_record_fails_alone
            odd_texts_come_through
            values_of_every_kind_stand_as_told_or_are_refused_by_name
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
    Call::new(Class::Live, "conformance")
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

/// A connector is done when it passes; so all of them have to be made to.
#[test]
fn every_connector_is_under_the_suite() {
    for connector in record_sync::connectors::CONNECTORS {
        let file = format!("{}/tests/it/{}.rs", env!("CARGO_MANIFEST_DIR"), connector.name);
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains("conformance!("), "{file} does not put its connector under the suite");
    }
}
