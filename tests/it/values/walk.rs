//! One pair of connectors: all values there as new records and as edits, edits beside them back, and rest.

use serde_json::{Value, json};

use super::doors::{Place, Rows};
use super::ends::End;
use super::meaning::{Meaning, says};
use super::table::{Case, Cases, Sort, key, turned};
use crate::scenario::daemon::Daemon;

/// What came of a pair, counted; and every cell that is not as it should be.
#[derive(Default)]
pub struct Tally {
    pub arrived: usize,
    pub refused: usize,
    /// Values that the source has no way to hold.
    pub unheld: usize,
    pub wrong: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.arrived += other.arrived;
        self.refused += other.refused;
        self.unheld += other.unheld;
        self.wrong.extend(other.wrong);
    }
}

/// Both ends of a link.
pub struct Pair<'t> {
    pub a: Place<'t>,
    pub b: Place<'t>,
}

impl Pair<'_> {
    fn daemon(&self) -> &Daemon {
        self.a.daemon
    }

    /// Takes all values there, an edit beside them back, and other values over them.
    pub async fn walk(&self, mut cases: Cases) -> Tally {
        let mut tally = Tally::default();
        let unheld = cases.len();
        cases.retain(|(_, case)| self.a.end.can_say(case.sort));
        tally.unheld += unheld - cases.len();
        self.round(&cases, "new", &mut tally).await;
        self.edit_back(&mut tally).await;
        let turned = turned(&cases, |sort| self.a.end.can_say(sort));
        self.round(&turned, "edited", &mut tally).await;
        tally
    }

    /// A state that knows nothing finds both sides as they are, and nothing to do.
    pub async fn meet_anew(&self) -> Tally {
        let mut tally = Tally::default();
        let (a, b) = (self.a.rows().await, self.b.rows().await);
        self.pass().await;
        self.still(&a, &b, "met anew", &mut tally).await;
        tally
    }

    /// Puts values in, and looks what became of each once all is at rest.
    async fn round(&self, cases: &Cases, what: &str, tally: &mut Tally) {
        let there = self.b.rows().await;
        let entries = cases.iter().map(|(at, case)| (key(*at), case.sort)).collect();
        self.a.put(&entries, &self.a.rows().await).await;
        let before = self.a.rows().await;
        self.pass().await;
        let after = self.b.rows().await;
        for (at, case) in cases {
            match self.cell((*at, case), &before, &there, &after).await {
                Ok(count) => tally.add(count),
                Err(wrong) => {
                    tally.wrong.push(self.wrong(&format!("{what} {}", case.name), &wrong, case.why))
                }
            }
        }
        self.pass().await;
        self.still(&before, &after, what, tally).await;
    }

    /// Says what became of one value.
    async fn cell(
        &self,
        (at, case): (usize, &Case),
        before: &Rows,
        there: &Rows,
        after: &Rows,
    ) -> Result<Tally, String> {
        let is_broken = matches!(case.sort, Sort::Broken { .. });
        let held = before
            .get(&key(at))
            .filter(|(held, _)| is_broken == (*held == Meaning::Broken) && self.is_held(case, held));
        let Some((source, note)) = held else { return Ok(Tally { unheld: 1, ..Tally::default() }) };
        let name = self.b.end.name();
        let refused = case.refused.iter().find(|refused| is_broken || refused.ends.contains(&name));
        let stands = after.get(&key(at));
        let Some(refused) = refused else {
            return match stands {
                Some((value, noted)) if says(self.b.end, source, value) && noted == note => {
                    Ok(Tally { arrived: 1, ..Tally::default() })
                }
                Some((value, noted)) => Err(format!(
                    "{} arrived as {} with {noted:?}; {}",
                    source.shown(),
                    value.shown(),
                    self.told(at).await
                )),
                None => Err(format!("refused: {}", self.told(at).await)),
            };
        };
        if stands != there.get(&key(at)) {
            return Err(format!(
                "{} arrived as {}",
                source.shown(),
                stands.map_or_else(String::new, |(value, _)| value.shown())
            ));
        }
        let told = self.told(at).await;
        let names_field = [" v ", "\"v\"", "v:"].iter().any(|name| told.contains(name));
        let has_remedy = is_broken || told.contains("; ");
        match told.starts_with("dead: ") && told.contains(refused.says) && names_field && has_remedy {
            true => Ok(Tally { refused: 1, ..Tally::default() }),
            false => Err(format!("said {told:?}")),
        }
    }

    /// Tells whether the source itself kept the value; what it made of it otherwise is not what is asked here.
    fn is_held(&self, case: &Case, held: &Meaning) -> bool {
        let says = |meaning| says(self.a.end, &meaning, held);
        match case.sort {
            Sort::Null => *held == Meaning::Null,
            Sort::Flag(flag) => says(Meaning::Flag(flag)),
            Sort::Number(text) => says(Meaning::Number(text.to_owned())),
            Sort::Text(text) => says(Meaning::Text(text.to_owned())),
            Sort::Long(_) | Sort::Nested(_) | Sort::Bytes(_) | Sort::Broken { .. } => true,
        }
    }

    /// An edit of another field on the far side comes home and leaves the values alone.
    async fn edit_back(&self, tally: &mut Tally) {
        let (before, there) = (self.a.rows().await, self.b.rows().await);
        self.b.annotate("after!").await;
        self.pass().await;
        let home = self.a.rows().await;
        for (key, (value, note)) in &before {
            let note = if there.contains_key(key) { "after!" } else { note.as_str() };
            let (now, noted) = &home[key];
            if (now, noted.as_str()) != (value, note) {
                let wrong = format!("{} became {} with {noted:?}", value.shown(), now.shown());
                tally.wrong.push(self.wrong(key, &wrong, "somebody edited beside it"));
            }
        }
        let noted = there.into_iter().map(|(key, (value, _))| (key, (value, "after!".to_owned()))).collect();
        self.still(&home, &noted, "after an edit beside them", tally).await;
    }

    /// A pass that has nothing to do writes nothing and changes nothing.
    pub async fn still(&self, a: &Rows, b: &Rows, when: &str, tally: &mut Tally) {
        for place in self.places().filter(|place| place.end.is_remote()) {
            self.daemon().forget_arrivals(place.customer, place.system).await;
        }
        let pass = self.pass().await;
        if pass["synced"] != 0 || pass["failed"] != 0 {
            tally.wrong.push(self.wrong(when, &format!("a pass did something: {pass}"), "all is said"));
        }
        for (place, stands) in self.places().zip([a, b]) {
            if place.end.is_remote() {
                let arrivals = self.daemon().arrivals(place.customer, place.system).await;
                let writes = arrivals.iter().filter(|arrival| is_change(place.end, arrival));
                let wrong =
                    writes.map(|arrival| self.wrong(when, &format!("wrote {arrival}"), "all is said"));
                tally.wrong.extend(wrong);
            }
            let now = place.rows().await;
            for (key, (value, note)) in now.iter().filter(|(key, row)| stands.get(*key) != Some(row)) {
                let wrong = format!("{key} at {} is {} with {note:?}", place.system, value.shown());
                tally.wrong.push(self.wrong(when, &wrong, "nobody edited it"));
            }
        }
    }

    fn places(&self) -> impl Iterator<Item = &Place<'_>> {
        [&self.a, &self.b].into_iter()
    }

    pub async fn pass(&self) -> Value {
        let customer = self.a.customer;
        let path = format!("/v1/sync/values?customer_id={customer}&wait=60");
        let answer = self.daemon().post(&path, json!({})).await;
        assert_eq!(answer.status, 202, "{customer}: {answer:?}");
        assert_eq!(answer.body["status"], "complete", "{customer}: {answer:?}");
        answer.body
    }

    /// What the API says of a record that did not arrive.
    async fn told(&self, at: usize) -> String {
        let path = format!("/v1/sync/status/{}?customer_id={}&link=values", key(at), self.a.customer);
        let status = self.daemon().get(&path).await;
        let way = &status.body["links"][0]["a_to_b"];
        let text = |name: &str| way[name].as_str().unwrap_or("nothing").to_owned();
        format!("{}: {}", text("status"), text("error"))
    }

    fn wrong(&self, what: &str, wrong: &str, why: &str) -> String {
        format!("{}: {what}: {wrong} ({why})", self.a.customer)
    }
}

/// Salesforce is read by POST as well.
fn is_change(end: End, arrival: &Value) -> bool {
    let path = arrival["path"].as_str().unwrap();
    match arrival["method"].as_str().unwrap() {
        "PATCH" | "DELETE" => true,
        "POST" => end != End::Salesforce && path.starts_with("/api/"),
        _ => false,
    }
}
