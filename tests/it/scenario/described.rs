//! APIs that are only described: the examples as their pages tell to try them, and against mocks of their own.

use serde_json::{Value, json};

use super::daemon::{Daemon, until};
use super::home::{Home, people};
use super::outside::Outside;

const ERP: (&str, &str) = ("authorization", "Bearer token");
const SCHEDULER: (&str, &str) = ("x-api-key", "token");

/// Asks a mock as any other client of the service would.
async fn ask(daemon: &Daemon, who: (&str, &str), method: &str, path: &str, body: Value) -> Value {
    let request =
        daemon.request(method, path).header(who.0, who.1).header("content-type", "application/json");
    let answer = daemon.send(request.body(body.to_string())).await;
    assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    answer.body
}

async fn enter_order(daemon: &Daemon, number: usize) -> Value {
    let order = json!({"data": {"number": format!("WO-{number}"), "title": format!("Pump {number}"), "city": "Bern",
        "hours": 2.5, "state": "open"}});
    ask(daemon, ERP, "POST", "/mock/default/erp/v1/orders", order).await
}

fn named<'r>(records: &'r [Value], field: &str, name: &str) -> Option<&'r Value> {
    records.iter().find(|record| record[field] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erp_feeds_a_scheduler_and_hears_of_it() {
    let home = Home::example("rest-rest");
    let checked = home.run(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let daemon = Daemon::start(&home);
    for number in 1..=3 {
        enter_order(&daemon, number).await;
    }
    let jobs = async || daemon.records("default", "scheduler", "jobs").await;
    let orders = async || daemon.records("default", "erp", "orders").await;
    let all = until("three jobs", jobs, |jobs| jobs.len() == 3).await;
    let job = named(&all, "reference", "WO-2").unwrap();
    assert_eq!(job["site"]["city"], "Bern", "a field inside an object: {job}");
    assert_eq!(job["duration_hours"], 2.5, "{job}");

    // Somebody plans a job otherwise, and names who does it: nothing that the rules know.
    let edit = json!({"jobs": [{"job_id": job["job_id"], "title": "Pump 2, urgent", "assigned_to": "Ada"}]});
    ask(&daemon, SCHEDULER, "PATCH", "/mock/default/scheduler/jobs/batch", edit).await;
    let heard = |orders: &Vec<Value>| {
        named(orders, "number", "WO-2").is_some_and(|order| order["title"] == "Pump 2, urgent")
    };
    let all = until("the ERP to hear of it", orders, heard).await;
    let order = named(&all, "number", "WO-3").unwrap();
    let path = format!("/mock/default/erp/v1/orders/{}", order["id"].as_str().unwrap());
    let request = daemon.request("DELETE", &path).header(ERP.0, ERP.1);
    assert_eq!(daemon.send(request).await.status, 204);
    let all = until("the cancelled one to go", jobs, |jobs| jobs.len() == 2).await;
    assert_eq!(named(&all, "reference", "WO-2").unwrap()["assigned_to"], "Ada", "other fields stay");

    // Replies get lost, services are busy: every order arrives once.
    daemon
        .misbehave(
            "default",
            "scheduler",
            json!({"rate_lost_reply": 0.2, "rate_429": 0.1, "retry_after_seconds": 0}),
        )
        .await;
    for number in 10..60 {
        enter_order(&daemon, number).await;
    }
    let all = until("fifty more", jobs, |jobs| jobs.len() >= 52).await;
    daemon.misbehave("default", "scheduler", json!({})).await;
    let mut references: Vec<&str> = all.iter().filter_map(|job| job["reference"].as_str()).collect();
    references.sort_unstable();
    references.dedup();
    assert_eq!((references.len(), all.len()), (52, 52), "none twice");
    daemon.pass("erp-to-scheduler").await;
    daemon.forget_arrivals("default", "scheduler").await;
    daemon.forget_arrivals("default", "erp").await;
    daemon.pass("erp-to-scheduler").await;
    for system in ["erp", "scheduler"] {
        let arrivals = daemon.arrivals("default", system).await;
        let writes: Vec<&Value> = arrivals.iter().filter(|arrival| arrival["method"] != "GET").collect();
        assert!(writes.is_empty(), "{system} is written though nothing changed: {writes:?}");
    }
}

/// Makes the demo table with its five people, as the pages of the examples say.
fn with_people(home: &Home) -> usize {
    let made = home.run(&["demo", "insert", "--count", "0"]);
    assert!(made.status.success(), "{made:?}");
    let active = "SELECT count(*) FROM users WHERE status = 'active'";
    let active: u32 = home.app().query_row(active, [], |row| row.get(0)).unwrap();
    usize::try_from(active).unwrap()
}

/// Points the systems of an example at mocks that run as a process of their own.
fn point_at(home: &Home, mock: &Outside, systems: &[&str]) {
    let mut text = home.read("customer_settings.toml");
    for system in systems {
        let url = if systems.len() == 1 { mock.url().to_owned() } else { format!("{}/{system}", mock.url()) };
        text = text.replacen("= \"mock\"", &format!("= \"{url}\""), 1);
    }
    let text = text
        .replace("{ type = \"bearer\" }", "{ type = \"bearer\", token = \"token\" }")
        .replace("header = \"X-Api-Key\" }", "header = \"X-Api-Key\", api_key = \"token\" }")
        .replace("header = \"x-api-token\" }", "header = \"x-api-token\", api_key = \"token\" }");
    home.write("customer_settings.toml", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_description_is_green_against_a_mock_made_from_it() {
    // (example, its systems, link)
    let cases: [(&str, &[&str], &str); 3] = [
        ("rest-rest", &["erp", "scheduler"], "erp-to-scheduler"),
        ("sqlite-hubspot", &["hubspot"], "sqlite-to-hubspot"),
        ("sqlite-pipedrive", &["pipedrive"], "sqlite-to-pipedrive"),
    ];
    for (example, systems, link) in cases {
        let home = Home::example(example);
        if systems.len() == 1 {
            with_people(&home);
        }
        let mock = Outside::start(&home, "rest", &[]);
        point_at(&home, &mock, systems);
        for moment in ["while it is empty", "with records in it"] {
            let checked = home.run(&["check"]);
            assert_eq!(checked.status.code(), Some(0), "{example} {moment}: {checked:?}");
            home.once(link);
        }
        let wrong = home.read("customer_settings.toml").replace("= \"token\"", "= \"guess\"");
        home.write("customer_settings.toml", &wrong);
        let checked = home.run(&["check"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{example}: {said}");
        assert!(said.contains("HTTP 401") && !said.contains("guess"), "{example}: {said}");
        mock.terminate();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_and_hubspot() {
    let home = Home::example("sqlite-hubspot");
    let active = with_people(&home);
    home.once("sqlite-to-hubspot");
    assert_eq!(home.once("sqlite-to-hubspot")["synced"], 0, "the mock keeps its data, and nothing is to do");
    let daemon = Daemon::start(&home);
    let contacts = async || daemon.records("default", "hubspot", "contacts").await;
    let all = contacts().await;
    assert_eq!(all.len(), active);
    let (id, key) = (all[0]["id"].as_str().unwrap(), all[0]["properties"]["record_id"].as_i64().unwrap());
    let batch = json!({"inputs": [{"id": id, "properties": {"lastname": "Hub Edit"}}]});
    let path = "/mock/default/hubspot/crm/v3/objects/contacts/batch/update";
    ask(&daemon, ERP, "POST", path, batch).await;
    let name = async || super::home::person(&home.app(), key).map(|(name, _)| name);
    until("the edit in the table", name, |name| name.as_deref() == Some("Hub Edit")).await;
    home.app().execute("DELETE FROM users WHERE record_id = ?1", [key]).unwrap();
    until("it archived", contacts, |contacts| contacts.len() == active - 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_and_pipedrive() {
    let home = Home::example("sqlite-pipedrive");
    let active = with_people(&home);
    home.once("sqlite-to-pipedrive");
    assert_eq!(
        home.once("sqlite-to-pipedrive")["synced"],
        0,
        "the mock keeps its data, and nothing is to do"
    );
    let daemon = Daemon::start(&home);
    let persons = async || daemon.records("default", "pipedrive", "persons").await;
    let all = persons().await;
    assert_eq!(all.len(), active);
    assert!(all.iter().all(|person| person["emails"][0]["value"].is_string()), "{all:?}");
    let client = ("x-api-token", "token");
    let path = format!("/mock/default/pipedrive/api/v2/persons/{}", all[0]["id"]);
    ask(&daemon, client, "PATCH", &path, json!({"emails": [{"value": "pipe@example.test"}]})).await;
    let emails = async || people(&home.app()).into_iter().map(|(_, _, email)| email).collect::<Vec<_>>();
    until("the edit in the table", emails, |all| all.iter().any(|email| email == "pipe@example.test")).await;
}
