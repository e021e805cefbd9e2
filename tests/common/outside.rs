//! A mock as a process of its own, which outlives the daemons that die.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::home::Home;

/// The client that every mock knows, as settings.
const CLIENT: &str = "client_id = \"client-id\"\nclient_secret = \"client-secret\"";

/// A mock of our own; killed when it goes out of scope.
pub struct Outside {
    child: Child,
    url: String,
}

impl Outside {
    /// Starts a mock and waits until it answers.
    pub fn start(home: &Home, system: &str, arguments: &[&str]) -> Self {
        let mut all = vec!["mock", system, "--listen", "127.0.0.1:0", "--json", "--quiet"];
        all.extend(arguments);
        let mut child = home.command(&all).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { child, url: said["url"].as_str().unwrap().to_owned() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The systems of a link between the demo table and this mock of Salesforce, `app` and `crm`; what follows in
    /// the settings belongs to `crm` until a table of its own begins.
    pub fn systems(&self) -> String {
        self.systems_of("salesforce", CLIENT)
    }

    /// The same for a mock of another service, with its own settings.
    pub fn systems_of(&self, connector: &str, settings: &str) -> String {
        let url = self.url();
        format!(
            r#"
[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.crm]
connector = "{connector}"
base_url = "{url}"
{settings}
"#
        )
    }

    /// Reads from the test's own door.
    pub async fn get(&self, path: &str) -> Vec<Value> {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    /// Reads from the test's own door, number by number as they stand there.
    pub async fn text(&self, path: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(format!("{}/__admin/{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }

    /// Asks the process to end, and waits for it.
    pub fn terminate(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
