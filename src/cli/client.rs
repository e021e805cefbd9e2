//! Talks to the daemon that runs beside: where it listens stands in the configuration.

use std::time::Duration;

use super::{Exit, Globals, output};

const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer of the daemon.
pub(super) struct Answer {
    pub ok: bool,
    pub body: serde_json::Value,
}

/// Asks the daemon; prints why where there is no answer.
pub(super) fn ask(globals: &Globals, method: reqwest::Method, path: &str) -> Result<Answer, Exit> {
    let config = globals.load(&[])?;
    let url = format!("http://{}{path}", super::service::reachable(config.service.listen));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| output::failed(format!("no threads can be started: {error}")))?;
    runtime.block_on(async {
        let sent = async {
            let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
            let reply = client.request(method, &url).send().await?;
            let ok = reply.status().is_success();
            let text = reply.text().await?;
            Ok::<_, reqwest::Error>((ok, text))
        };
        let (ok, text) = sent.await.map_err(|error| {
            output::failed(format!(
                "no daemon answers at {url}: {}; start one with `record-sync run`",
                error.without_url()
            ))
        })?;
        let body = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
        Ok(Answer { ok, body })
    })
}

/// Asks the daemon and shows what it says: as it is, or as `show` puts it.
pub(super) fn print(
    globals: &Globals,
    method: reqwest::Method,
    path: &str,
    show: impl FnOnce(&serde_json::Value) -> Exit,
) -> Exit {
    match ask(globals, method, path) {
        Err(exit) => exit,
        Ok(answer) if globals.json => {
            output::data(&answer.body);
            if answer.ok { Exit::Fine } else { Exit::Problems }
        }
        Ok(answer) if !answer.ok => problem(&answer),
        Ok(answer) => show(&answer.body),
    }
}

/// Writes a query of what is given.
pub(super) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let given: Vec<String> =
        pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment((*value)?)))).collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

/// Writes a path segment so that it means just itself.
pub(super) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Prints what went wrong, as the daemon says it.
pub(super) fn problem(answer: &Answer) -> Exit {
    let text = |name: &str| answer.body.get(name).and_then(serde_json::Value::as_str);
    let detail = text("detail").or_else(|| text("title")).unwrap_or("the daemon refused");
    match text("remedy") {
        Some(remedy) => output::failed(format!("{detail}; {remedy}")),
        None => output::failed(detail),
    };
    Exit::Problems
}
