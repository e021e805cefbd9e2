//! Every value kind through every ordered pair of connectors: it arrives as it is, or its record is refused
//! with a reason; and an edit beside it on the far side leaves it alone at home.
//!
//! The real binary syncs all pairs in one process, a customer a pair. Values are put in and read back past
//! the connectors ([`ends`]), and compared by the test's own idea of what they mean ([`meaning`]).

mod ends;
mod meaning;
mod table;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::scenario::daemon::Daemon;
use crate::scenario::home::Home;
use ends::{ENDS, End, Place, Rows};
use meaning::{Meaning, says};
use table::{CASES, Case, Cases, Sort, cases, key};

const RULES: &str = r#"{"mappings": {"record_id": "record_id", "v": "v", "note": "note"}}"#;

/// What came of the pairs, counted; and every cell that is not as it should be.
#[derive(Default)]
struct Tally {
    arrived: usize,
    refused: usize,
    /// Values that the source has no way to hold.
    unheld: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.arrived += other.arrived;
        self.refused += other.refused;
        self.unheld += other.unheld;
        self.wrong.extend(other.wrong);
    }
}

fn customer(from: End, to: End) -> String {
    format!("{}-to-{}", from.name(), to.name())
}

fn settings(pairs: &[(End, End)]) -> String {
    let mut text = String::from(
        "[service]\nstate = \"sqlite:data/state.sqlite\"\nbody_bytes_max = 4000000\n\n\
         [default]\nmax_requests = 1000000\nwindow_size = 1\nflush_interval = 0.0\n\n",
    );
    for (from, to) in pairs {
        let customer = customer(*from, *to);
        text += &from.settings(&customer, "a");
        text += &to.settings(&customer, "b");
        text += &format!(
            "[{customer}.links.values]\na = {}\nb = {}\npoll_interval = 3600\n\n",
            from.entry("a"),
            to.entry("b")
        );
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_arrive_as_they_are_or_are_refused_with_a_reason() {
    let pairs: Vec<(End, End)> =
        ENDS.into_iter().flat_map(|from| ENDS.into_iter().map(move |to| (from, to))).collect();
    let next = |(from, to): (End, End)| {
        ENDS.iter().zip(ENDS.iter().cycle().skip(1)).any(|(this, next)| (*this, *next) == (from, to))
    };
    let home = Home::new(&settings(&pairs), RULES);
    for (from, to) in &pairs {
        from.prepare(&home, &customer(*from, *to), "a", &cases(next((*from, *to))));
        to.prepare(&home, &customer(*from, *to), "b", &Cases::new());
    }
    let daemon = Daemon::start(&home);
    let told: Vec<Tally> = futures_util::stream::iter(&pairs)
        .map(|(from, to)| walk(&home, &daemon, (*from, *to), cases(next((*from, *to)))))
        .buffer_unordered(4)
        .collect()
        .await;
    let mut tally = Tally::default();
    told.into_iter().for_each(|told| tally.add(told));
    assert!(daemon.terminate().success());
    println!(
        "values: {} pairs of connectors, {} values; {} cells arrived, {} refused, {} not to be had at the source",
        pairs.len(),
        CASES.len(),
        tally.arrived,
        tally.refused,
        tally.unheld
    );
    tally.wrong.sort();
    assert!(tally.wrong.is_empty(), "{} cells are wrong:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
}

/// Takes all values through one pair, and edits beside them back.
async fn walk(home: &Home, daemon: &Daemon, (from, to): (End, End), cases: Cases) -> Tally {
    let customer = customer(from, to);
    let place = |end, system| Place { end, home, daemon, customer: &customer, system };
    let (a, b) = (place(from, "a"), place(to, "b"));
    a.fill(&cases).await;
    let before = a.rows().await;
    pass(daemon, &customer).await;
    let there = b.rows().await;
    let mut tally = Tally::default();
    for (at, case) in cases {
        let verdict = cell(daemon, &customer, (from, to), (at, case), &before, &there).await;
        match verdict {
            Ok(count) => tally.add(count),
            Err(wrong) => tally.wrong.push(format!("{customer}: {}: {wrong} ({})", case.name, case.why)),
        }
    }
    // Nothing is left to say, on either side.
    pass(daemon, &customer).await;
    let quiet = still(daemon, &a, &b, (&before, &there)).await;
    tally.wrong.extend(quiet.into_iter().map(|wrong| format!("{customer}: at rest: {wrong}")));
    b.annotate("after!").await;
    pass(daemon, &customer).await;
    let home_again = a.rows().await;
    for (key, (value, note)) in &before {
        let arrived = there.contains_key(key);
        let wanted = (value, if arrived { "after!" } else { note.as_str() });
        let (now, noted) = &home_again[key];
        if (now, noted.as_str()) != wanted {
            tally.wrong.push(format!(
                "{customer}: {}: an edit beside it made it {} with {noted:?}, was {}",
                name(key),
                now.shown(),
                value.shown()
            ));
        }
    }
    let noted: Rows =
        there.into_iter().map(|(key, (value, _))| (key, (value, "after!".to_owned()))).collect();
    let quiet = still(daemon, &a, &b, (&home_again, &noted)).await;
    tally.wrong.extend(quiet.into_iter().map(|wrong| format!("{customer}: after the edit: {wrong}")));
    tally
}

fn name(wanted: &str) -> &'static str {
    CASES.iter().enumerate().find(|(at, _)| key(*at) == wanted).map_or("?", |(_, case)| case.name)
}

async fn pass(daemon: &Daemon, customer: &str) -> Value {
    let answer = daemon.post(&format!("/v1/sync/values?customer_id={customer}&wait=60"), json!({})).await;
    assert_eq!(answer.status, 202, "{customer}: {answer:?}");
    assert_eq!(answer.body["status"], "complete", "{customer}: {answer:?}");
    answer.body
}

/// Says what became of one value.
async fn cell(
    daemon: &Daemon,
    customer: &str,
    (from, to): (End, End),
    (at, case): (usize, &Case),
    before: &Rows,
    there: &Rows,
) -> Result<Tally, String> {
    let is_broken = matches!(case.sort, Sort::Broken { .. });
    let held = before
        .get(&key(at))
        .filter(|(held, _)| is_broken == (*held == Meaning::Broken) && holds(from, case, held));
    let Some((source, _)) = held else { return Ok(Tally { unheld: 1, ..Tally::default() }) };
    let refused = case.refused.iter().find(|refused| is_broken || refused.ends.contains(&to.name()));
    match (refused, there.get(&key(at))) {
        (None, Some((value, note))) if says(to, source, value) && note == "before" => {
            Ok(Tally { arrived: 1, ..Tally::default() })
        }
        (None, Some((value, note))) => {
            Err(format!("{} arrived as {} with {note:?}", source.shown(), value.shown()))
        }
        (None, None) => Err(format!("refused: {}", told(daemon, customer, at).await)),
        (Some(_), Some((value, _))) => Err(format!("{} arrived as {}", source.shown(), value.shown())),
        (Some(refused), None) => {
            let told = told(daemon, customer, at).await;
            let good = told.starts_with("dead: ")
                && told.contains(refused.says)
                && (is_broken || told.contains("; "));
            let good = good && (told.contains(" v ") || told.contains("\"v\"") || told.contains("v:"));
            if good { Ok(Tally { refused: 1, ..Tally::default() }) } else { Err(format!("said {told:?}")) }
        }
    }
}

/// Tells whether the source itself kept the value; what it made of it otherwise is not what is asked here.
fn holds(from: End, case: &Case, held: &Meaning) -> bool {
    match case.sort {
        Sort::Null => *held == Meaning::Null,
        Sort::Flag(flag) => says(from, &Meaning::Flag(flag), held),
        Sort::Number(text) => says(from, &Meaning::Number(text.to_owned()), held),
        Sort::Text(text) => says(from, &Meaning::Text(text.to_owned()), held),
        Sort::Long(_) | Sort::Nested(_) | Sort::Bytes(_) | Sort::Broken { .. } => true,
    }
}

/// What the API says of a record that did not arrive.
async fn told(daemon: &Daemon, customer: &str, at: usize) -> String {
    let path = format!("/v1/sync/status/{}?customer_id={customer}&link=values", key(at));
    let status = daemon.get(&path).await;
    let way = &status.body["links"][0]["a_to_b"];
    format!(
        "{}: {}",
        way["status"].as_str().unwrap_or("unknown"),
        way["error"].as_str().unwrap_or("no reason")
    )
}

/// A pass that has nothing to do writes nothing and changes nothing.
async fn still(daemon: &Daemon, a: &Place<'_>, b: &Place<'_>, stands: (&Rows, &Rows)) -> Vec<String> {
    let mut wrong = Vec::new();
    for place in [a, b].into_iter().filter(|place| place.end.is_remote()) {
        daemon.forget_arrivals(place.customer, place.system).await;
    }
    let pass = pass(daemon, a.customer).await;
    if pass["synced"] != 0 || pass["failed"] != 0 {
        wrong.push(format!("a pass did something: {pass}"));
    }
    for (place, stands) in [(a, stands.0), (b, stands.1)] {
        if place.end.is_remote() {
            let arrivals = daemon.arrivals(place.customer, place.system).await;
            let writes = arrivals.iter().filter(|arrival| is_change(place.end, arrival));
            wrong.extend(writes.map(|arrival| format!("wrote {arrival}")));
        }
        let now = place.rows().await;
        let changed = now.iter().filter(|(key, row)| stands.get(*key) != Some(row));
        wrong.extend(changed.map(|(key, (value, note))| {
            format!("{} at {} is now {} with {note:?}", name(key), place.system, value.shown())
        }));
    }
    wrong
}

/// Salesforce is read by POST as well.
fn is_change(end: End, arrival: &Value) -> bool {
    let path = arrival["path"].as_str().unwrap();
    match arrival["method"].as_str().unwrap() {
        "PATCH" | "DELETE" => true,
        "POST" => end == End::Outreach && path.starts_with("/api/"),
        _ => false,
    }
}
