//! A contact that was purged while nobody looked is deleted in the table by the first pass after the start.

use super::home::{Home, RULES, add_people, people, person};
use super::outside::Outside;
use serde_json::Value;

fn settings(mock: &Outside) -> String {
    let systems = mock.systems();
    format!(
        r#"
[default]
max_requests = 100000
window_size = 1
flush_interval = 0.05
{systems}
[default.links.people]
a = {{ system = "app", stream = "users", key = "record_id" }}
b = {{ system = "crm", stream = "Contact", key = "record_id" }}
poll_interval = 0.2
audit_interval = 0
"#
    )
}

/// Asks the mock; gives the status and the body.
async fn ask(mock: &Outside, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method.parse().unwrap(), format!("{}/{path}", mock.url()));
    let request = request.header("content-type", "application/x-www-form-urlencoded").bearer_auth(token);
    let response = request.body(body.to_owned()).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_purged_contact_is_deleted_without_an_audit() {
    let home = Home::new("", RULES);
    let mock = Outside::start(&home, "salesforce", &[]);
    home.write("customer_settings.toml", &settings(&mock));
    add_people(&mut home.app(), 1..=40);
    home.once("people");
    home.once("people");
    let contacts = mock.get("records/Contact").await;
    assert_eq!(contacts.len(), 40);
    let seventh = contacts.iter().find(|contact| contact["record_id"] == 7).unwrap();
    let id = seventh["Id"].as_str().unwrap();
    let form = "grant_type=client_credentials&client_id=client-id&client_secret=client-secret";
    let (_, told) = ask(&mock, "POST", "services/oauth2/token", "", form).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let token = told["access_token"].as_str().unwrap();
    let path = format!("services/data/v61.0/sobjects/Contact/{id}");
    assert_eq!(ask(&mock, "DELETE", &path, token, "").await.0, 204);
    assert_eq!(ask(&mock, "DELETE", "__admin/bin/Contact", token, "").await.0, 204);
    // Three minutes pass there; the log is asked in whole minutes.
    assert_eq!(ask(&mock, "PUT", "__admin/faults", token, r#"{"clock_ms": 180000}"#).await.0, 200);
    assert_eq!(ask(&mock, "DELETE", "__admin/arrivals", token, "").await.0, 204);
    home.once("people");
    assert_eq!((person(&home.app(), 7), people(&home.app()).len()), (None, 39));
    let arrivals = mock.get("arrivals").await;
    let questions = arrivals.iter().filter(|call| call["path"].as_str().unwrap().ends_with("/deleted/"));
    assert_eq!(questions.count(), 1, "{arrivals:?}");
}
