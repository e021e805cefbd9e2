//! Keys through every pair of connectors: those that differ stay apart, those that are the same under the
//! [rules of keys](../../../docs/adr/keys-have-one-form.md) are never merged, and it is said.

use serde_json::json;

use super::doors::{Entries, Rows};
use super::ends::End;
use super::meaning::Meaning;
use super::table::Sort;
use super::walk::Tally;
use super::{RULES, customer, each, prepared, settings, told};
use crate::scenario::daemon::Daemon;
use crate::scenario::home::Home;
use crate::scenario::outside::Outside;

/// One of each connector: how a value is typed says nothing of keys.
const ENDS: [End; 6] = [
    End::Sqlite("TEXT"),
    End::File("csv"),
    End::File("json"),
    End::File("jsonl"),
    End::Salesforce,
    End::Outreach,
];

/// Keys of different records, each with its value and why it is here.
const APART: &[(&str, &str, &str)] = &[
    ("7", "plain", "a number as text"),
    ("07", "zero in front", "leading zeros count"),
    ("-7", "minus", "a sign"),
    (" 7", "space ahead", "spaces count"),
    ("7 ", "space behind", "on either side"),
    ("A", "capital", "case counts"),
    ("a", "small", "the same letter"),
    ("ß", "sharp", "no capital of one letter"),
    ("SS", "double", "what some make of it"),
    ("na\u{ef}ve", "composed", "NFC as it is"),
    ("x,y", "comma", "a separator to others"),
    ("a/b?c#d&e=f", "address", "a URL to others"),
    ("it's \"100%\" \\", "quotes", "every quote there is"),
    ("日本 🦀", "wide", "letters of several bytes"),
    ("18446744073709551616", "big", "more than 64 bits"),
];

fn entries(rows: &[(&str, &'static str)]) -> Entries {
    rows.iter().map(|(key, value)| ((*key).to_owned(), Sort::Text(value))).collect()
}

/// What stands there, without the notes.
fn values(rows: &Rows) -> Vec<(&str, &str)> {
    rows.iter()
        .map(|(key, (value, _))| match value {
            Meaning::Text(text) => (key.as_str(), text.as_str()),
            _ => (key.as_str(), "?"),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_differ_stay_apart() {
    let pairs: Vec<(End, End)> =
        ENDS.into_iter().flat_map(|from| ENDS.into_iter().map(move |to| (from, to))).collect();
    let (home, daemon) = prepared(&pairs);
    let rows: Vec<(&str, &str)> = APART.iter().map(|(key, value, _)| (*key, *value)).collect();
    let mut sorted = rows.clone();
    sorted.sort_unstable();
    let tally = each(&home, &daemon, pairs.into_iter(), async |pair| {
        let mut tally = Tally::default();
        pair.a.put(&entries(&rows), &Rows::new()).await;
        pair.pass().await;
        pair.b.annotate("after!").await;
        pair.pass().await;
        for place in [&pair.a, &pair.b] {
            let now = place.rows().await;
            let noted = now.values().all(|(_, note)| note == "after!");
            if values(&now) != sorted || !noted {
                tally.wrong.push(format!("{}: {} has {now:?}", pair.a.customer, place.system));
            }
        }
        tally
    })
    .await;
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    assert!(daemon.terminate().success());
}

/// The same key in two records of one source: the composed letter and the decomposed one.
const ONE_KEY: [(&str, &str); 2] = [("caf\u{e9}", "first"), ("cafe\u{301}", "second")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_of_two_records_is_told_and_they_are_not_merged() {
    let pairs: Vec<(End, End)> = ENDS.into_iter().map(|from| (from, End::File("jsonl"))).collect();
    let (home, daemon) = prepared(&pairs);
    let tally = each(&home, &daemon, pairs.into_iter(), async |pair| {
        let mut wrong = Vec::new();
        let customer = pair.a.customer;
        let rows = [ONE_KEY[0], ONE_KEY[1], ("tea", "neighbour")];
        pair.a.put(&entries(&rows), &Rows::new()).await;
        pair.pass().await;
        pair.pass().await;
        let there = pair.b.rows().await;
        let arrived: Vec<&str> = values(&there).into_iter().map(|(_, value)| value).collect();
        if arrived.len() != 2 || !arrived.contains(&"neighbour") {
            wrong.push(format!("{customer}: arrived {there:?}"));
        }
        let duplicate = told(&daemon, customer, "#duplicate-caf\u{e9}").await;
        let error = duplicate["a_to_b"]["error"].as_str().unwrap_or_default();
        if duplicate["a_to_b"]["status"] != "dead"
            || !error.contains("two records of the stream have the key")
        {
            wrong.push(format!("{customer}: said {duplicate}"));
        }
        // What comes back may reach one of them, or none; it never makes one of two.
        pair.b.annotate("after!").await;
        pair.pass().await;
        let home = pair.a.rows().await;
        let mut sorted = rows;
        sorted.sort_unstable();
        if values(&home) != sorted || home["tea"].1 != "after!" {
            wrong.push(format!("{customer}: at home {home:?}"));
        }
        Tally { wrong, ..Tally::default() }
    })
    .await;
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    assert!(daemon.terminate().success());
}

/// A destination that can't tell two keys apart, and what it says of the second one.
struct Narrow {
    table: &'static str,
    keys: [(&'static str, &'static str); 2],
    says: &'static str,
    why: &'static str,
}

const NARROW: &[Narrow] = &[
    Narrow {
        table: "record_id INTEGER PRIMARY KEY, v TEXT, note TEXT",
        keys: [("7", "plain"), ("07", "zero")],
        says: "would store this key as another one",
        why: "numbers have no leading zeros",
    },
    Narrow {
        table: "record_id TEXT COLLATE NOCASE PRIMARY KEY, v TEXT, note TEXT",
        keys: [("A", "capital"), ("a", "small")],
        says: "record_id",
        why: "an index without regard to case",
    },
    Narrow {
        table: "record_id TEXT COLLATE RTRIM PRIMARY KEY, v TEXT, note TEXT",
        keys: [("7", "plain"), ("7 ", "space")],
        says: "record_id",
        why: "an index without regard to spaces at the end",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_can_not_tell_keys_apart_refuses_the_second() {
    for narrow in NARROW {
        let pair = (End::File("jsonl"), End::Sqlite("TEXT"));
        let home = Home::new(&settings(&[pair]), RULES);
        let customer = customer(pair);
        pair.0.make(&home, &customer, "a");
        let file = pair.1.file(&home, &customer, "b");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let conn = rusqlite::Connection::open(file).unwrap();
        conn.execute_batch(&format!("PRAGMA journal_mode = wal; CREATE TABLE t ({})", narrow.table)).unwrap();
        let daemon = Daemon::start(&home);
        let tally = each(&home, &daemon, [pair].into_iter(), async |pair| {
            pair.a.put(&entries(&narrow.keys), &Rows::new()).await;
            pair.pass().await;
            pair.pass().await;
            let there: Vec<String> = conn
                .prepare("SELECT v FROM t")
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            let [first, second] = narrow.keys;
            let told = told(&daemon, &customer, second.0).await;
            let error = told["a_to_b"]["error"].as_str().unwrap_or_default();
            let good =
                there == [first.1] && told["a_to_b"]["status"] == "dead" && error.contains(narrow.says);
            let home = pair.a.rows().await;
            let mut sorted = narrow.keys;
            sorted.sort_unstable();
            let wrong = format!("{}: {there:?}, {told}, at home {home:?}", narrow.why);
            Tally {
                wrong: if good && values(&home) == sorted { vec![] } else { vec![wrong] },
                ..Tally::default()
            }
        })
        .await;
        assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
        assert!(daemon.terminate().success());
    }
}

/// External ids of Salesforce are told apart without regard to case, and are trimmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn salesforce_external_ids_that_differ_in_case_or_spaces_alone_are_one() {
    let home = Home::new("", r#"{"mappings": {"record_id": "External_Id__c", "v": "LastName"}}"#);
    let mock = Outside::start(&home, "salesforce", &["--strict"]);
    let keys = [("A", "capital"), ("a", "small"), ("7", "plain"), (" 7", "space"), ("b", "alone")];
    let line = |(key, value): &(&str, &str)| format!("{}\n", json!({ "record_id": key, "v": value }));
    let lines: String = keys.iter().map(line).collect();
    home.write("data/t.jsonl", &lines);
    let settings = format!(
        "[service]\nstate = \"sqlite:data/state.sqlite\"\n[default]\nmax_requests = 100000\nwindow_size = 1\n\
         flush_interval = 0.0\n[default.systems.files]\nconnector = \"file\"\npath = \"data\"\n\
         [default.systems.org]\nconnector = \"salesforce\"\nbase_url = \"{}\"\nclient_id = \"client-id\"\n\
         client_secret = \"client-secret\"\n[default.links.values]\n\
         a = {{ system = \"files\", stream = \"t.jsonl\", key = \"record_id\" }}\n\
         b = {{ system = \"org\", stream = \"Contact\", key = \"External_Id__c\" }}\npoll_interval = 3600\n",
        mock.url()
    );
    home.write("customer_settings.toml", &settings);
    let daemon = Daemon::start(&home);
    for _ in 0..4 {
        daemon.pass("values").await;
    }
    let there = mock.get("records/Contact").await;
    let mut names: Vec<&str> = there.iter().map(|row| row["LastName"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut said = Vec::new();
    for (key, _) in keys {
        let way = told(&daemon, "default", key).await["a_to_b"].clone();
        said.push(format!("{key:?}: {} {}", way["status"], way["error"]));
    }
    assert_eq!(names.len(), 3, "{names:?} {said:#?}");
    assert!(names.contains(&"alone"), "{names:?} {said:#?}");
    let refused = said.iter().filter(|said| said.contains("\"dead\"")).count();
    assert_eq!(refused, 2, "{names:?} {said:#?}");
    assert_eq!(home.read("data/t.jsonl"), lines, "and nothing of it comes back");

    // The same where the other record has long been there, and where a refused one is edited.
    let lines = lines.replace("small", "still small") + &line(&("B", "late"));
    home.swap("data/t.jsonl", &lines);
    for _ in 0..2 {
        daemon.pass("values").await;
    }
    let there = mock.get("records/Contact").await;
    let again: Vec<&str> = there.iter().map(|row| row["LastName"].as_str().unwrap()).collect();
    assert!(again.len() == 3 && names.iter().all(|name| again.contains(name)), "{again:?}");
    for (key, other) in [("B", "b"), ("a", "A")] {
        let way = told(&daemon, "default", key).await["a_to_b"].clone();
        let error = way["error"].as_str().unwrap_or_default();
        assert_eq!(way["status"], "dead", "{key}: {way}");
        assert!(error.contains(&format!("takes the key {key} for {other}")), "{way}");
    }
    assert_eq!(home.read("data/t.jsonl"), lines);
    assert!(daemon.terminate().success());
}
