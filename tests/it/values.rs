//! Every value kind through every ordered pair of connectors: it arrives as it is, or its record is refused
//! with a reason; and an edit beside it on the far side leaves it alone at home.
//!
//! The real binary syncs all pairs in one process, a customer a pair. Values are put in and read back past
//! the connectors ([`doors`]), and compared by the test's own idea of what they mean ([`meaning`]).

mod declared;
mod doors;
mod ends;
mod keys;
mod meaning;
mod pushed;
mod said;
mod table;
mod walk;

use futures_util::StreamExt as _;
use serde_json::Value;

use crate::scenario::daemon::Daemon;
use crate::scenario::home::Home;
use doors::Place;
use ends::{ENDS, End};
use table::{CASES, cases};
use walk::{Pair, Tally};

const RULES: &str = r#"{"mappings": {"record_id": "record_id", "v": "v", "note": "note"}}"#;

/// Pairs that are walked at once: most of a walk is waiting.
const WALKS: usize = 10;

fn customer((from, to): (End, End)) -> String {
    format!("{}-to-{}", from.name(), to.name())
}

fn settings(pairs: &[(End, End)]) -> String {
    let mut text = String::from(
        "[service]\nstate = \"sqlite:data/state.sqlite\"\nbody_bytes_max = 4000000\n\n\
         [default]\nmax_requests = 1000000\nwindow_size = 1\nflush_interval = 0.0\n\n",
    );
    for (from, to) in pairs {
        let customer = customer((*from, *to));
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

/// Makes the ends of these pairs, empty, and starts the binary on them.
fn prepared(pairs: &[(End, End)]) -> (Home, Daemon) {
    let home = Home::new(&settings(pairs), RULES);
    for pair in pairs {
        for (end, system) in [(pair.0, "a"), (pair.1, "b")] {
            end.make(&home, &customer(*pair), system);
        }
    }
    let daemon = Daemon::start_mute(&home);
    (home, daemon)
}

/// Says what the API has on a record.
async fn told(daemon: &Daemon, customer: &str, key: &str) -> Value {
    let mut path = format!("/v1/sync/status/x?customer_id={customer}&link=values");
    let escaped = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string();
    path = path.replace("/x?", &format!("/{escaped}?"));
    daemon.get(&path).await.body["links"][0].clone()
}

/// Does something with each pair, several at once.
async fn each(
    home: &Home,
    daemon: &Daemon,
    pairs: impl Iterator<Item = (End, End)>,
    work: impl AsyncFn(Pair<'_>) -> Tally,
) -> Tally {
    let one = async |(from, to): (End, End)| {
        let customer = customer((from, to));
        let place = |end, system| Place { end, home, daemon, customer: &customer, system };
        work(Pair { a: place(from, "a"), b: place(to, "b") }).await
    };
    let told: Vec<Tally> = futures_util::stream::iter(pairs).map(one).buffer_unordered(WALKS).collect().await;
    let mut tally = Tally::default();
    told.into_iter().for_each(|told| tally.add(told));
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_arrive_as_they_are_or_are_refused_with_a_reason() {
    let pairs: Vec<(End, End)> =
        ENDS.into_iter().flat_map(|from| ENDS.into_iter().map(move |to| (from, to))).collect();
    let (home, daemon) = prepared(&pairs);
    let with_long = |pair: &Pair<'_>| {
        ENDS.iter()
            .zip(ENDS.iter().cycle().skip(1))
            .any(|(this, next)| (*this, *next) == (pair.a.end, pair.b.end))
    };
    let mut tally =
        each(&home, &daemon, pairs.iter().copied(), async |pair| pair.walk(cases(with_long(&pair))).await)
            .await;
    assert!(daemon.terminate().success());

    // The same data met anew, by a state that knows nothing: both sides say the same, so nothing is written.
    for file in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm"] {
        let _ = std::fs::remove_file(home.path(&format!("data/{file}")));
    }
    let daemon = Daemon::start_mute(&home);
    let local = pairs.iter().copied().filter(|(from, to)| !from.is_remote() && !to.is_remote());
    tally.add(each(&home, &daemon, local, async |pair| pair.meet_anew().await).await);
    assert!(daemon.terminate().success());
    println!(
        "values: {} pairs of connectors, {} values, each new and as an edit; {} arrived, {} refused, {} not to be had at the source",
        pairs.len(),
        CASES.len(),
        tally.arrived,
        tally.refused,
        tally.unheld
    );
    tally.wrong.sort();
    assert!(tally.wrong.is_empty(), "{} cells are wrong:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
}
