//! A backlog for each of the strict CRMs, by the real binary: a table goes in, an empty one takes it all out, and what
//! it costs in calls. For Salesforce it goes by jobs.
//!
//! `RECORD_SYNC_BACKLOG=100000` makes it so long, and `RECORD_SYNC_LIFELIKE=1` the mocks as late as the real services;
//! shorter and at once for every day.

use std::collections::BTreeSet;

use serde_json::Value;

use super::daemon::Daemon;
use super::home::{Home, add_people, people};
use super::outside::Outside;

/// One of the CRMs, and what it may cost.
struct Crm {
    connector: &'static str,
    /// Its settings beside the address.
    settings: &'static str,
    stream: &'static str,
    /// What `record_id`, `name` and `email` are there.
    fields: [&'static str; 3],
    /// Records of an everyday backlog.
    everyday: i64,
    /// The protocol's least calls for so many records in, and out.
    least: fn(usize) -> [usize; 2],
}

const SALESFORCE: Crm = Crm {
    connector: "salesforce",
    settings: "client_id = \"client-id\"\nclient_secret = \"client-secret\"\noverlap_seconds = 1",
    stream: "Contact",
    fields: ["External_Id__c", "LastName", "Email"],
    everyday: 21_000,
    // A job carries 10,000 records. In: they are looked for by queries of 800 to 2,000 keys; then made, uploaded, closed,
    // asked after and two or three lists of results. Out: made, asked after, fetched by pages.
    least: |count| [25 * (count / 10_000 + 1), 7 * (count / 10_000 + 1)],
};

const OUTREACH: Crm = Crm {
    connector: "outreach",
    settings: "client_id = \"client-id\"\nclient_secret = \"client-secret\"\nrefresh_token = \"or-refresh-1\"\noverlap_ms = 300\nin_flight = 16",
    stream: "accounts",
    fields: ["customId", "name", "description"],
    everyday: 1_200,
    // In: each by a request of its own. Out: pages of 1,000, and as many that list the ids.
    least: |count| [count, 2 * (count / 1_000 + 1)],
};

const SERVICENOW: Crm = Crm {
    connector: "servicenow",
    settings: "client_id = \"client-id\"\nclient_secret = \"client-secret\"\noverlap_seconds = 1",
    stream: "incident",
    fields: ["correlation_id", "short_description", "description"],
    everyday: 3_000,
    // In: a batch carries 100, and they are looked for first. Out: pages of 1,000, behind what the table is made of and what
    // was deleted, and once more for what is new.
    least: |count| [2 * (count / 100 + 1), count / 1_000 + 6],
};

/// Records of a backlog, where somebody asks for another number than is usual.
fn asked_for() -> Option<i64> {
    let asked = std::env::vars().find(|(name, _)| name == "RECORD_SYNC_BACKLOG");
    asked.map(|(_, count)| count.parse().unwrap())
}

impl Crm {
    fn start(&self, home: &Home) -> Outside {
        let mut how = vec!["--strict"];
        if std::env::vars().any(|(name, value)| name == "RECORD_SYNC_LIFELIKE" && value == "1") {
            how.push("--lifelike");
        }
        Outside::start(home, self.connector, &how)
    }

    fn rules(&self) -> String {
        let [key, name, email] = self.fields;
        format!(
            r#"{{"links": {{"people": {{"fields": {{"record_id": "{key}", "name": "{name}", "email": "{email}"}}}}}}}}"#
        )
    }

    fn home(&self, mock: Option<&Outside>) -> Home {
        let home = Home::new("", &self.rules());
        if let Some(mock) = mock {
            home.write("customer_settings.toml", &self.settings(mock));
        }
        home
    }

    fn settings(&self, mock: &Outside) -> String {
        let Self { connector, settings, stream, fields: [key, ..], .. } = self;
        let systems = mock.systems_of(connector, settings);
        // A long one is polled as by users: beside short ones polls would be most of what is counted.
        let poll_interval = asked_for().map_or(0.2, |_| 5.0);
        format!(
            r#"
[service]
state = "sqlite:data/state.sqlite"

[default]
max_requests = 100000
window_size = 1
flush_interval = 0.05
retry = {{ base = 0.05, max = 0.2, attempts_max = 20 }}
breaker = {{ failures = 1000, failure_rate = 1.0 }}
{systems}
[default.links.people]
a = {{ system = "app", stream = "users", key = "record_id" }}
b = {{ system = "crm", stream = "{stream}", key = "{key}" }}
poll_interval = {poll_interval}
"#
        )
    }

    /// Counts what stands there; fails where a record does twice.
    async fn count(&self, mock: &Outside) -> usize {
        let rows = mock.get(&format!("records/{}", self.stream)).await;
        let keys: BTreeSet<String> = rows.iter().map(|row| row[self.fields[0]].to_string()).collect();
        assert_eq!(keys.len(), rows.len(), "none twice");
        keys.len()
    }

    /// Takes a table in and out again; `once` something has begun to go in, the process dies.
    async fn there_and_back(&self, begun: impl Fn(&[Value]) -> bool) {
        let count = asked_for().unwrap_or(self.everyday) as usize;
        let home = self.home(None);
        let mock = self.start(&home);
        home.write("customer_settings.toml", &self.settings(&mock));
        add_people(&mut home.app(), 1..=count as i64);
        let daemon = Daemon::start(&home);
        super::daemon::until("that it has begun", async || calls(&mock).await, |calls| begun(calls)).await;
        daemon.kill();
        let before = calls(&mock).await.len();
        home.once_within("people", patience(count));
        assert_eq!(self.count(&mock).await, count);
        let calls_in = calls(&mock).await.len();

        // Another table reads them all.
        let other = self.home(Some(&mock));
        admin(&mock, "DELETE", "arrivals", "").await;
        other.once_within("people", patience(count));
        assert_eq!(people(&other.app()).len(), count);
        let calls_out = calls(&mock).await.len();
        let each = |calls: usize| calls as f64 / count as f64 * 1_000.0;
        println!(
            "{}: {calls_in} calls for {count} records in ({before} of them before the kill), {calls_out} for as many out: {:.1} and {:.1} for each 1000",
            self.connector,
            each(calls_in),
            each(calls_out),
        );
        let [least_in, least_out] = (self.least)(count);
        assert!(calls_in - before <= 2 * least_in, "{calls_in} calls in, at least {least_in}");
        assert!(calls_out <= 2 * least_out, "{calls_out} calls out, at least {least_out}");
    }
}

/// Seconds that a backlog may take.
fn patience(count: usize) -> u64 {
    40 + count as u64 / 5
}

/// A call, by its method and the end of its path.
fn is_call(call: &Value, method: &str, end: &str) -> bool {
    call["method"] == method && call["path"].as_str().unwrap().trim_end_matches(|at| at != '/').ends_with(end)
}

async fn calls(mock: &Outside) -> Vec<Value> {
    let mut arrivals = mock.get("arrivals").await;
    arrivals.retain(|arrival| !arrival["path"].as_str().unwrap().contains("oauth"));
    arrivals
}

async fn admin(mock: &Outside, method: &str, path: &str, body: &str) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method.parse().unwrap(), format!("{}/__admin/{path}", mock.url()));
    assert!(request.body(body.to_owned()).send().await.unwrap().status().is_success());
}

fn is_write(call: &Value) -> bool {
    call["method"] == "POST" || call["method"] == "PATCH"
}

#[tokio::test]
async fn a_backlog_goes_to_salesforce_by_jobs_both_ways_and_none_arrives_twice() {
    let a_job_at_work = |call: &Value| call["path"].as_str().unwrap().ends_with("/batches");
    SALESFORCE.there_and_back(|calls| calls.iter().any(a_job_at_work)).await;
}

#[tokio::test]
async fn a_backlog_goes_to_outreach_and_back_and_none_arrives_twice() {
    OUTREACH.there_and_back(|calls| calls.iter().filter(|call| is_write(call)).count() > 20).await;
}

#[tokio::test]
async fn a_backlog_goes_to_servicenow_and_back_and_none_arrives_twice() {
    SERVICENOW.there_and_back(|calls| calls.iter().filter(|call| is_write(call)).count() > 5).await;
}

#[tokio::test]
async fn a_bulk_job_at_work_holds_up_no_reload_and_nothing_goes_past_it() {
    const COUNT: i64 = 3_000;
    let home = SALESFORCE.home(None);
    let mock = Outside::start(&home, "salesforce", &["--strict"]);
    home.write("customer_settings.toml", &SALESFORCE.settings(&mock));
    add_people(&mut home.app(), 1..=COUNT);
    // It would be waited for for minutes.
    admin(&mock, "PUT", "faults", r#"{"jobs_stand": true}"#).await;
    let daemon = Daemon::start(&home);
    let begun = |calls: &Vec<Value>| calls.iter().any(|call| is_call(call, "PATCH", "jobs/ingest/"));
    super::daemon::until("a job at work", async || calls(&mock).await, begun).await;
    // The first ones went by a call, before there was a backlog.
    let there = mock.get("records/Contact").await.len();
    home.app().execute("UPDATE users SET name = 'Edited' WHERE record_id = 2907", []).unwrap();

    let in_force = |status: &Value| status["links"][0]["rules_version"].clone();
    let status = async || daemon.get("/v1/sync/status").await.body;
    let before = in_force(&status().await);
    home.swap("rules.json", &SALESFORCE.rules().replace(r#", "email": "Email""#, ""));
    super::daemon::until("the link under the new rules", status, |now| {
        in_force(now) != before && !in_force(now).is_null()
    })
    .await;
    assert_eq!(mock.get("records/Contact").await.len(), there, "nothing was sent past the job");

    admin(&mock, "PUT", "faults", "{}").await;
    let standing = async || mock.get("records/Contact").await;
    let of = |rows: &[Value]| rows.iter().find(|row| row["External_Id__c"] == "2907").cloned();
    super::daemon::until("all of them, and the edit", standing, |rows| {
        rows.len() == COUNT as usize && of(rows).is_some_and(|row| row["LastName"] == "Edited")
    })
    .await;
    assert_eq!(SALESFORCE.count(&mock).await, COUNT as usize);
    assert!(daemon.terminate().success());
    assert_eq!(people(&home.app())[2906].1, "Edited", "our own late write is no edit of anybody's");
}
