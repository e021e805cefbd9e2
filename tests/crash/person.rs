//! Somebody who works in a CRM: saves and removes records there by its own API.

use serde_json::{Value, json};

use crate::scene::{Other, People};

/// Somebody who is logged in.
pub struct Person {
    other: Other,
    url: String,
    token: String,
}

/// Runs a future to its end.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Logs in.
pub fn at(other: Other, url: &str) -> Person {
    let (path, form) = match other {
        Other::Outreach => (
            "/oauth/token",
            "grant_type=refresh_token&client_id=client-id&client_secret=client-secret&refresh_token=or-refresh-1",
        ),
        _ => (
            "/services/oauth2/token",
            "grant_type=client_credentials&client_id=client-id&client_secret=client-secret",
        ),
    };
    let client = client();
    let request = client.post(format!("{url}{path}")).body(form);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let text = wait(async { request.send().await.unwrap().text().await.unwrap() });
    let said: Value = serde_json::from_str(&text).unwrap();
    let token = said["access_token"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned();
    Person { other, url: url.to_owned(), token }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Person {
    /// Changes records, and adds those that are not there.
    pub fn save(&self, people: &People) {
        if self.other == Other::Outreach {
            return self.save_each(people);
        }
        let records: Vec<Value> = people
            .iter()
            .map(|(id, (name, address))| {
                json!({"attributes": {"type": "Contact"}, "record_id": id, "full_name": name, "email": address})
            })
            .collect();
        for some in records.chunks(200) {
            let body = json!({"allOrNone": true, "records": some});
            self.ask("PATCH", "/services/data/v61.0/composite/sobjects/Contact/record_id", &body);
        }
    }

    pub fn remove(&self, ids: &[i64]) {
        for id in ids {
            let path = match self.other {
                Other::Outreach => format!("/api/v2/prospects/{}", self.prospect(*id).unwrap()),
                _ => format!("/services/data/v61.0/sobjects/Contact/record_id/{id}"),
            };
            self.ask("DELETE", &path, &Value::Null);
        }
    }

    fn save_each(&self, people: &People) {
        for (id, (name, address)) in people {
            let attributes = json!({"record_id": id, "full_name": name, "email": address});
            match self.prospect(*id) {
                Some(number) => {
                    let data = json!({"type": "prospect", "id": number, "attributes": attributes});
                    self.ask("PATCH", &format!("/api/v2/prospects/{number}"), &json!({ "data": data }));
                }
                None => {
                    let data = json!({"type": "prospect", "attributes": attributes});
                    self.ask("POST", "/api/v2/prospects", &json!({ "data": data }));
                }
            }
        }
    }

    /// The id that Outreach gave to a record of ours.
    fn prospect(&self, id: i64) -> Option<i64> {
        let found = self.ask("GET", &format!("/api/v2/prospects?filter[record_id]={id}"), &Value::Null);
        found["data"].as_array().unwrap().first().map(|record| record["id"].as_i64().unwrap())
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let kind =
            if self.other == Other::Outreach { "application/vnd.api+json" } else { "application/json" };
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = client().request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.header("content-type", kind).body(body.to_string());
        }
        let (status, text) = wait(async {
            let response = request.send().await.unwrap();
            (response.status(), response.text().await.unwrap())
        });
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}
