//! `record-sync check`, and the commands that say no.

use super::home::{Home, RULES, TRIANGLE};
use super::outside::Outside;

#[test]
fn a_good_folder_is_fine() {
    let home = Home::new(TRIANGLE, RULES);
    let checked = home.run(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(
        said.contains("sqlite-to-salesforce") && said.contains("full_name"),
        "how the rules are read: {said}"
    );
    assert!(!home.path("data/state.sqlite").exists(), "a check leaves nothing behind");
    let again = home.run(&["check", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert!(json["problems"].as_array().is_some_and(Vec::is_empty), "{json}");
}

#[test]
fn problems_stand_with_file_line_and_column() {
    let broken = |settings: &str, rules: &str| {
        let home = Home::new(settings, rules);
        let checked = home.run(&["check"]);
        (
            checked.status.code(),
            String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr),
        )
    };
    let dangling = TRIANGLE.replace("system = \"outreach\"", "system = \"outrech\"");
    let cases: [(&str, &str, &str, &str); 5] = [
        (&format!("{TRIANGLE}max_request = 1\n"), RULES, "customer_settings.toml:", "an unknown key"),
        (&dangling, RULES, "customer_settings.toml:", "a link to a system that is not there"),
        (
            &format!("{TRIANGLE}\n[\"a b\"]\nmax_requests = 1\n"),
            RULES,
            "customer_settings.toml:",
            "a bad customer id",
        ),
        (TRIANGLE, "{ \"filters\": ", "rules.json:1:", "no JSON"),
        (TRIANGLE, &RULES.replace("\"name\"", "\"nam\""), "rules.json:3:", "a field that neither stream has"),
    ];
    for (settings, rules, place, why) in cases {
        let (code, said) = broken(settings, rules);
        assert_eq!(code, Some(1), "{why}: {said}");
        let line = said.lines().find(|line| line.contains(place)).unwrap_or_else(|| panic!("{why}: {said}"));
        let (_, after) = line.split_once(place.split(':').next().unwrap()).unwrap();
        let numbers: Vec<_> =
            after.split(':').skip(1).take(2).map(|part| part.trim().parse::<u32>()).collect();
        assert!(numbers.len() == 2 && numbers.iter().all(Result::is_ok), "{why}: file:line:column in {line}");
    }
}

#[test]
fn a_daemon_does_not_start_on_what_is_broken() {
    for (settings, rules, why) in [
        (format!("{TRIANGLE}max_request = 1\n"), RULES, "settings"),
        (TRIANGLE.to_owned(), "{ no rules", "rules"),
    ] {
        let home = Home::new(&settings, rules);
        let refused = home.run(&["run", "--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status.code(), Some(3), "{why}: {refused:?}");
        assert!(!refused.stderr.is_empty(), "{why} say why");
    }
    let home = Home::new(TRIANGLE, RULES);
    assert_eq!(home.run(&["once"]).status.code(), Some(2), "usage");
    assert_eq!(home.run(&["once", "--link", "none"]).status.code(), Some(3));
}

#[test]
fn paths_start_at_the_folder_of_the_settings() {
    let home = Home::new(TRIANGLE, RULES);
    let inner = home.path("inner");
    std::fs::create_dir(&inner).unwrap();
    for name in ["customer_settings.toml", "rules.json", "data"] {
        std::fs::rename(home.path(name), inner.join(name)).unwrap();
    }
    let done =
        home.run(&["once", "--link", "sqlite-to-outreach", "--config", "inner/customer_settings.toml"]);
    assert!(done.status.success(), "{done:?}");
    for (path, here) in
        [("inner/data/state.sqlite", true), ("inner/logs", true), ("data", false), ("logs", false)]
    {
        assert_eq!(home.path(path).exists(), here, "{path}");
    }
}

/// What a strict Salesforce says of its fields is held against the rules before anything is written.
#[test]
fn fields_that_can_not_be_written_are_told_before_the_first_run() {
    let home = Home::new("", RULES);
    let mock = Outside::start(&home, "salesforce", &["--strict"]);
    // (fields, direction, key at Salesforce, what is said; nothing where the rules are fine)
    let cases = [
        (r#""name": "LastName""#, "both", "External_Id__c", None),
        (
            r#""name": "LastName", "email": "Name""#,
            "both",
            "External_Id__c",
            Some("a_to_b writes Name of Contact in crm"),
        ),
        (r#""name": "LastName", "email": "Name""#, "b_to_a", "External_Id__c", None),
        (
            r#""name": "LastName""#,
            "a_to_b",
            "Email",
            Some("a_to_b writes Email of Contact in crm: Salesforce can't upsert Contact by Email"),
        ),
    ];
    for (fields, direction, key, expected) in cases {
        let systems = mock.systems();
        home.write(
            "customer_settings.toml",
            &format!(
                r#"{systems}
[default.links.people]
a = {{ system = "app", stream = "users", key = "record_id" }}
b = {{ system = "crm", stream = "Contact", key = "{key}" }}
direction = "{direction}"
"#
            ),
        );
        let rules = format!(r#"{{"links": {{"people": {{"fields": {{"record_id": "{key}", {fields}}}}}}}}}"#);
        home.write("rules.json", &rules);
        let checked = home.run(&["check", "--json"]);
        let said: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
        let problems: Vec<&str> =
            said["problems"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        match expected {
            None => assert!(problems.is_empty(), "{fields} {direction}: {problems:?}"),
            Some(expected) => {
                assert_eq!(problems.len(), 1, "{fields} {direction}: {problems:?}");
                let start = format!("default/people: {expected}");
                assert!(problems[0].starts_with(&start) && problems[0].contains("; "), "{problems:?}");
                assert_eq!(checked.status.code(), Some(1));
            }
        }
    }
}
