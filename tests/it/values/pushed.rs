//! Values that an application hands in at the API: they reach the destination as exactly as those of a source.

use serde_json::Value;
use serde_json::value::RawValue;

use super::doors::Rows;
use super::ends::{ENDS, End};
use super::meaning::{Meaning, says};
use super::table::{CASES, Sort, cases, key};
use super::walk::{Pair, Tally};
use super::{each, prepared, told};

const FROM: End = End::File("json");

/// Hands a value in; the status of the answer.
async fn push(pair: &Pair<'_>, at: usize, value: &str) -> u16 {
    let body = format!(
        "{{\"operation\": \"create\", \"record_id\": \"{}\", \"crm\": \"b\", \"customer_id\": \"{}\", \
         \"data\": {{\"v\": {value}, \"note\": \"pushed\"}}}}",
        key(at),
        pair.a.customer
    );
    let request = pair.a.daemon.request("POST", "/v1/sync").header("content-type", "application/json");
    let answer = pair.a.daemon.send(request.body(body)).await;
    if answer.status >= 400 {
        answer.is_problem(answer.status);
    }
    answer.status
}

async fn look(
    pair: &Pair<'_>,
    at: usize,
    there: &Rows,
    home: &Rows,
    status: u16,
    value: &str,
) -> Result<(), String> {
    let case = &CASES[at];
    if matches!(case.sort, Sort::Broken { .. }) {
        return if status == 422 { Ok(()) } else { Err(format!("answered {status}")) };
    }
    let given = Meaning::of_json(serde_json::from_str::<&RawValue>(value).unwrap());
    let refused = case.refused.iter().find(|refused| refused.ends.contains(&pair.b.end.name()));
    let stands = there.get(&key(at)).map(|(value, _)| value);
    let way: Value = told(pair.a.daemon, pair.a.customer, &key(at)).await["a_to_b"].clone();
    match (refused, stands) {
        (None, Some(stands)) if says(pair.b.end, &given, stands) => {
            // What the destination made of it may come home in its words, but not as another value.
            let home = home.get(&key(at)).map(|(value, _)| value);
            let as_there = home.is_some_and(|home| says(FROM, stands, home));
            if as_there || home.is_some_and(|home| says(FROM, &given, home)) {
                Ok(())
            } else {
                Err(format!("at home {home:?}"))
            }
        }
        (Some(refused), None) => {
            let error = way["error"].as_str().unwrap_or_default();
            let good = way["status"] == "dead" && error.contains(refused.says);
            if good { Ok(()) } else { Err(format!("said {way}")) }
        }
        (_, stands) => Err(format!("{} stands as {:?}, {way}", given.shown(), stands.map(Meaning::shown))),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_pushed_arrive_as_they_are_or_are_refused() {
    let pairs: Vec<(End, End)> = ENDS.into_iter().map(|to| (FROM, to)).collect();
    let (home, daemon) = prepared(&pairs);
    let tally = each(&home, &daemon, pairs.into_iter(), async |pair| {
        pair.pass().await;
        let mut statuses = Vec::new();
        for (at, case) in cases(false) {
            let Some(value) = super::said::in_json(case.sort) else { continue };
            statuses.push((at, push(&pair, at, &value).await, value));
        }
        for _ in 0..2 {
            pair.pass().await;
        }
        let (there, home) = (pair.b.rows().await, pair.a.rows().await);
        let mut tally = Tally::default();
        for (at, status, value) in statuses {
            if let Err(wrong) = look(&pair, at, &there, &home, status, &value).await {
                tally.wrong.push(format!("{}: {}: {wrong}", pair.a.customer, CASES[at].name));
            }
        }
        tally
    })
    .await;
    assert!(tally.wrong.is_empty(), "{} are wrong:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
    assert!(daemon.terminate().success());
}
