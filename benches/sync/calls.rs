//! W6: deliveries of one record each by HTTP, with a durable status for each, beside a loop that only sends
//! the same requests, one after the other, to the same mock.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::data;

const SETTINGS: &str = r#"
[service]
listen = "127.0.0.1:0"
state = "sqlite:state.sqlite"
rules = "rules.json"
log_dir = "logs"

[default]
max_requests = 1000000000
window_size = 1
batch_size = 1
flush_interval = 0

[default.systems.left]
connector = "sqlite"
path = "calls.sqlite"

[default.systems.right]
connector = "salesforce"
base_url = "URL"
client_id = "client-id"
client_secret = "client-secret"

[default.links.bench]
a = { system = "left", stream = "users", key = "record_id" }
b = { system = "right", stream = "Contact", key = "record_id" }
direction = "a_to_b"
"#;

/// A mock of Salesforce in a process of its own; it ends with this.
struct Mock {
    child: Child,
    url: String,
}

impl Mock {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_record-sync"))
            .args(["mock", "salesforce", "--listen", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the mock starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its words");
        BufReader::new(out).read_line(&mut line).expect("its address");
        let told: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let url = told["url"].as_str().expect("an address").to_owned();
        Self { child, url }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends so many records through the binary.
pub fn run(folder: &Path, records: usize) -> Duration {
    let mock = Mock::start();
    data::clean(folder, "calls.sqlite");
    data::fill(&folder.join("calls.sqlite"), records);
    data::rules(folder);
    let config = folder.join("calls.toml");
    std::fs::write(&config, SETTINGS.replace("URL", &mock.url)).expect("calls.toml");
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_record-sync"))
        .args(["once", "--link", "bench", "--json", "--config"])
        .arg(&config)
        .output()
        .expect("record-sync runs");
    let elapsed = begun.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(there(&mock), records, "every record arrived");
    elapsed
}

/// Sends as many requests of the same kind, and does nothing else.
pub fn bare(records: usize) -> Duration {
    let mock = Mock::start();
    let elapsed = alone(async {
        let client = reqwest::Client::new();
        let token = token(&client, &mock.url).await;
        let url = format!("{}/services/data/v61.0/composite/sobjects/Contact/record_id", mock.url);
        let begun = Instant::now();
        for id in 1..=records {
            let row = data::person(id as i64);
            let body = serde_json::json!({"allOrNone": false, "records": [{
                "attributes": {"type": "Contact"}, "record_id": row.0, "name": row.1, "email": row.2,
                "company": row.3, "city": row.4, "phone": row.5, "score": row.6, "status": row.7,
            }]});
            let request = client
                .patch(&url)
                .bearer_auth(&token)
                .header("content-type", "application/json")
                .body(body.to_string());
            let reply = request.send().await.expect("a reply");
            assert!(reply.status().is_success(), "{}", reply.status());
            reply.bytes().await.expect("a body");
        }
        begun.elapsed()
    });
    assert_eq!(there(&mock), records, "every record arrived");
    elapsed
}

fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

async fn token(client: &reqwest::Client, url: &str) -> String {
    let words = [
        ("grant_type", "client_credentials"),
        ("client_id", "client-id"),
        ("client_secret", "client-secret"),
    ];
    let reply = client.post(format!("{url}/services/oauth2/token")).form(&words).send().await;
    let text = reply.expect("a reply").text().await.expect("a body");
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    told["access_token"].as_str().expect("a token").to_owned()
}

/// Counts the records at the mock.
fn there(mock: &Mock) -> usize {
    alone(async {
        let client = reqwest::Client::new();
        let token = token(&client, &mock.url).await;
        let url = format!("{}/services/data/v61.0/query?q=SELECT+COUNT()+FROM+Contact", mock.url);
        let reply = client.get(url).bearer_auth(token).send().await.expect("a reply");
        let told: serde_json::Value =
            serde_json::from_str(&reply.text().await.expect("a body")).expect("JSON");
        told["totalSize"].as_u64().expect("a count") as usize
    })
}
