//! The daemon as a child process, and its HTTP.

use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};

use serde_json::{Value, json};

use super::PATIENCE;
use super::home::Home;

/// A daemon of our own; killed when it goes out of scope.
pub struct Daemon {
    child: Child,
    base: String,
    client: reqwest::Client,
}

/// An answer: status, headers, body (text where it is no JSON).
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts a problem of this status that explains itself.
    #[track_caller]
    pub fn is_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"].as_u64().unwrap_or(u64::from(status)), u64::from(status), "{self:?}");
        assert!(!self.body["title"].as_str().unwrap().is_empty(), "{self:?}");
        assert!(!self.body["detail"].as_str().unwrap().is_empty(), "{self:?}");
        assert!(!self.header("x-correlation-id").is_empty(), "{self:?}");
    }
}

impl Daemon {
    /// Starts the daemon and waits until it answers.
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// Starts the daemon with further arguments.
    pub fn start_with(home: &Home, arguments: &[&str]) -> Self {
        Self::launch(home, arguments, Stdio::inherit())
    }

    /// Starts the daemon where hundreds of dead letters are what is wanted, and their log is not.
    pub fn start_mute(home: &Home) -> Self {
        Self::launch(home, &[], Stdio::null())
    }

    /// Starts the daemon where its standard error is to be read.
    pub fn start_saying(home: &Home, stderr: std::fs::File) -> Self {
        Self::launch(home, &[], stderr.into())
    }

    fn launch(home: &Home, arguments: &[&str], stderr: Stdio) -> Self {
        let mut all = vec!["run", "--listen", "127.0.0.1:0", "--json", "--quiet"];
        all.extend(arguments);
        let mut child = home.command(&all).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let base = format!("http://{}", said["listen"].as_str().unwrap());
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { child, base, client }
    }

    /// Ends the process as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to end, and waits for it.
    pub fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Sends the process a signal.
    pub fn signal(&self, name: &str) {
        let arguments = [format!("-{name}"), self.child.id().to_string()];
        assert!(std::process::Command::new("kill").args(arguments).status().unwrap().success());
    }

    /// Waits until the process has ended.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.base.trim_start_matches("http://").to_owned()
    }

    /// Starts a request.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request; panics where nothing answers.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    /// The live records of a mock's stream.
    pub async fn records(&self, customer: &str, system: &str, stream: &str) -> Vec<Value> {
        let answer = self.get(&format!("/mock/{customer}/{system}/__admin/records/{stream}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.as_array().unwrap().clone()
    }

    /// The requests that arrived at a mock.
    pub async fn arrivals(&self, customer: &str, system: &str) -> Vec<Value> {
        let answer = self.get(&format!("/mock/{customer}/{system}/__admin/arrivals")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.as_array().unwrap().clone()
    }

    /// Forgets the arrivals of a mock.
    pub async fn forget_arrivals(&self, customer: &str, system: &str) {
        assert_eq!(self.delete(&format!("/mock/{customer}/{system}/__admin/arrivals")).await.status, 204);
    }

    /// Tells a mock how to misbehave.
    pub async fn misbehave(&self, customer: &str, system: &str, faults: Value) {
        let path = format!("/mock/{customer}/{system}/__admin/faults");
        let answer = self.send(self.request("PUT", &path).body(faults.to_string())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Runs one pass of a link to its end.
    pub async fn pass(&self, link: &str) -> Value {
        let answer = self.post(&format!("/v1/sync/{link}?wait=40"), json!({})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.body["status"], "complete", "{answer:?}");
        answer.body
    }

    /// Asks until the answer is as wanted; panics with the last one after a long time.
    pub async fn until(&self, path: &str, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let mut last = None;
        for _ in 0..PATIENCE.as_millis() / 50 {
            let answer = self.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            last = Some(answer);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("never came about: {what}; {path} said {last:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until the value is as wanted; panics with the last one after a long time.
pub async fn until<T: std::fmt::Debug>(
    what: &str,
    look: impl AsyncFn() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let mut last = None;
    for _ in 0..PATIENCE.as_millis() / 50 {
        let now = look().await;
        if wanted(&now) {
            return now;
        }
        last = Some(now);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("never came about: {what}; last {last:?}");
}

/// Whether an arrival at a mock may have changed something there.
pub fn is_write(arrival: &Value) -> bool {
    let path = arrival["path"].as_str().unwrap();
    arrival["method"] != "GET" && !path.ends_with("/token")
}

/// Finds the record with this value in a field.
pub fn with<'r>(records: &'r [Value], field: &str, value: i64) -> Option<&'r Value> {
    let alike = |found: &Value| found.as_i64() == Some(value) || found.as_str() == Some(&value.to_string());
    records.iter().find(|record| alike(&record[field]))
}
