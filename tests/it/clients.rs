//! Clients of other people, unmodified, against the mocks. `make clients` installs them into `target/clients`; where
//! that can't be done `CLIENTS=skip` goes without.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scenario::home::Home;
use crate::scenario::outside::Outside;

/// Runs a client's script against a mock of its own.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
fn run(system: &str, arguments: &[&str], script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clients = root.join("target/clients");
    // Written last: what is there without it is half of it.
    if !clients.join("installed").exists() {
        if std::env::var("CLIENTS").as_deref() == Ok("skip") {
            eprintln!("*** {script}: no clients here, and CLIENTS=skip: left unproven ***");
            return;
        }
        panic!("{}: run `make clients`, or set CLIENTS=skip to leave this unproven", clients.display());
    }
    let home = Home::new("", "{}");
    let mock = Outside::start(&home, system, arguments);
    let interpreter = match script.ends_with(".py") {
        true => clients.join("bin/python"),
        false => PathBuf::from("node"),
    };
    let mut command = Command::new(interpreter);
    command.arg(root.join("tests/clients").join(script)).arg(mock.url());
    command.env("NO_PROXY", "127.0.0.1").env("NODE_PATH", clients.join("node_modules"));
    let ran = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    println!("{system}: {}", out.trim());
}

#[test]
fn the_vendors_python_client_believes_the_mock_of_servicenow() {
    run("servicenow", &["--strict"], "servicenow.py");
}

#[test]
fn simple_salesforce_believes_the_mock_of_salesforce() {
    run("salesforce", &["--strict"], "salesforce.py");
}

#[test]
fn aiosalesforce_believes_the_mock_of_salesforce() {
    run("salesforce", &["--strict"], "salesforce_async.py");
}

#[test]
fn jsforce_believes_the_mock_of_salesforce() {
    run("salesforce", &["--strict"], "salesforce.cjs");
}

#[test]
fn a_client_of_json_api_at_large_believes_the_mock_of_outreach() {
    run("outreach", &["--strict"], "outreach.py");
}
