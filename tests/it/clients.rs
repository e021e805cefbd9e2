//! Clients of other people, unmodified, against the mocks. `make clients` installs them into `target/clients`; where
//! that can't be done `CLIENTS=skip` goes without.

use std::path::Path;
use std::process::Command;

use crate::scenario::home::Home;
use crate::scenario::outside::Outside;

/// Runs a client's script against a mock of its own.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
fn run(system: &str, arguments: &[&str], script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/clients/bin/python");
    if !python.exists() {
        if std::env::var("CLIENTS").as_deref() == Ok("skip") {
            eprintln!("*** {script}: no clients here, and CLIENTS=skip: left unproven ***");
            return;
        }
        panic!("{}: run `make clients`, or set CLIENTS=skip to leave this unproven", python.display());
    }
    let home = Home::new("", "{}");
    let mock = Outside::start(&home, system, arguments);
    let script = root.join("tests/clients").join(script);
    let ran = Command::new(python).arg(script).arg(mock.url()).env("NO_PROXY", "127.0.0.1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    println!("{system}: {}", out.trim());
}

#[test]
fn the_vendors_python_client_believes_the_mock_of_servicenow() {
    run("servicenow", &["--strict"], "servicenow.py");
}
