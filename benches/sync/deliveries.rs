//! W5 and W6: a table into a service over HTTP, two hundred records a call or one, beside a loop that reads the same
//! rows and sends the same bodies.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tokio::task::JoinSet;

use super::line::{Line, tell_round};
use super::measure::{self, Run, median, peak_kib};
use super::service::Service;
use super::{Size, copies, data};

/// One workload.
struct Way {
    name: &'static str,
    /// Records in a call.
    batch: usize,
    /// Milliseconds that an answer takes.
    latency: u64,
    /// Calls of the bare loop under way at once.
    at_once: usize,
}

const WAYS: [Way; 3] = [
    Way { name: "W5", batch: 200, latency: 0, at_once: 2 },
    Way { name: "W5 late", batch: 200, latency: 20, at_once: 16 },
    Way { name: "W6", batch: 1, latency: 0, at_once: 16 },
];

/// Sends a table, and does nothing else, in a process of its own.
pub fn run_bare(url: &str, database: &Path, batch: usize, at_once: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(send(url, database, batch, at_once));
    println!("{}", peak_kib("self"));
}

async fn send(url: &str, database: &Path, batch: usize, at_once: usize) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{url}/records");
    let database = Connection::open(database).expect("a database");
    let mut select = database.prepare("SELECT * FROM users ORDER BY record_id").expect("a query");
    let mut rows = select.query([]).expect("rows");
    let mut under_way = JoinSet::new();
    let mut records = Vec::with_capacity(batch);
    loop {
        let row = rows.next().expect("a row");
        if let Some(row) = row {
            let record: serde_json::Map<String, serde_json::Value> = data::COLUMNS
                .iter()
                .enumerate()
                .map(|(at, name)| ((*name).to_owned(), value(row, at)))
                .collect();
            records.push(record);
        }
        if records.len() == batch || (row.is_none() && !records.is_empty()) {
            let body = serde_json::json!({ "records": std::mem::take(&mut records) }).to_string();
            if under_way.len() == at_once {
                under_way.join_next().await.expect("a call").expect("a reply");
            }
            let request = client.post(&url).header("content-type", "application/json").body(body);
            under_way.spawn(async move {
                let reply = request.send().await.expect("a reply");
                assert!(reply.status().is_success(), "{}", reply.status());
                reply.bytes().await.expect("a body");
            });
        }
        if row.is_none() {
            break;
        }
    }
    while let Some(sent) = under_way.join_next().await {
        sent.expect("a reply");
    }
}

fn value(row: &rusqlite::Row<'_>, at: usize) -> serde_json::Value {
    use rusqlite::types::ValueRef;
    match row.get_ref(at).expect("a column") {
        ValueRef::Integer(int) => int.into(),
        ValueRef::Real(real) => real.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Null | ValueRef::Blob(_) => serde_json::Value::Null,
    }
}

/// Measures those that are wanted.
pub fn measure(folder: &Path, service: &Service, size: &Size, tell: &mut dyn FnMut(Line)) {
    for way in WAYS.iter().filter(|way| size.is_wanted(way.name)) {
        let records = if way.batch == 1 { size.of("CALLS", 10_000) } else { size.of("BATCHED", 100_000) };
        let latency = Duration::from_millis(way.latency);
        let (mut syncs, mut bares) = (Vec::new(), Vec::new());
        data::clean(folder, "left.sqlite");
        data::fill(&folder.join("left.sqlite"), records);
        for round in 0..size.rounds {
            service.begin(latency);
            bares.push(bare_run(folder, service, way));
            assert_eq!(service.count(), records, "the bare loop sent everything");
            service.begin(latency);
            syncs.push(sync_run(folder, service, way));
            assert_eq!(service.count(), records, "every record arrived");
            tell_round(way.name, round, &syncs[round], Some(&bares[round]));
        }
        let late =
            if way.latency > 0 { format!(", answered after {} ms", way.latency) } else { String::new() };
        tell(Line {
            name: way.name,
            what: format!("SQLite → HTTP, {} a call{late}", way.batch),
            count: records,
            sync: median(&mut syncs),
            bare: Some(median(&mut bares)),
            more: format!("bare: {} calls at once", way.at_once),
        });
    }
}

fn bare_run(folder: &Path, service: &Service, way: &Way) -> Run {
    let (database, url) = (folder.join("left.sqlite"), service.url());
    let (batch, at_once) = (way.batch.to_string(), way.at_once.to_string());
    let words = ["deliveries".as_ref(), url.as_ref(), database.as_os_str(), batch.as_ref(), at_once.as_ref()];
    measure::bare(words)
}

fn sync_run(folder: &Path, service: &Service, way: &Way) -> Run {
    data::clean(folder, "no destination");
    copies::once(&service.configure(folder, way.batch, ""))
}
