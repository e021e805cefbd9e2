//! Values into fields that their service has declared: what fits arrives in the field's own form, what does
//! not is refused by name, and neither comes back to change what it was made from.

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::RawValue;

use crate::scenario::daemon::{Daemon, is_write};
use crate::scenario::home::Home;
use crate::scenario::outside::Outside;

/// What becomes of a value.
enum Fate {
    /// It stands there as this JSON text.
    Stands(&'static str),
    /// It is refused; the reason names the field and says this.
    Refused(&'static str),
}

struct Case {
    field: &'static str,
    given: &'static str,
    fate: Fate,
    why: &'static str,
}

const fn case(field: &'static str, given: &'static str, fate: Fate, why: &'static str) -> Case {
    Case { field, given, fate, why }
}

use Fate::{Refused, Stands};

const CONTACT: &[Case] = &[
    case("Title", "\"Chief\"", Stands("\"Chief\""), "text"),
    case("Title", "\" padded \"", Stands("\"padded\""), "Salesforce trims"),
    case("Title", "\"\"", Stands("null"), "and takes empty text for null"),
    case("Title", "9007199254740993", Stands("\"9007199254740993\""), "2^53+1 as text"),
    case("Title", "true", Stands("\"true\""), "a flag as text"),
    case("Title", "{\"b\": [1], \"a\": 2}", Stands("\"{\\\"a\\\":2,\\\"b\\\":[1]}\""), "nested as text"),
    case("Title", "\"🦀\\u0000\"", Stands("\"🦀\\u0000\""), "beyond the first plane, and NUL"),
    case("Description", "\"one\\r\\ntwo\"", Stands("\"one\\r\\ntwo\""), "a long text has lines"),
    case("Birthdate", "\"2024-02-29\"", Stands("\"2024-02-29\""), "a leap day"),
    case("Birthdate", "\"0000-01-01\"", Stands("\"0000-01-01\""), "year 0"),
    case("Birthdate", "\"9999-12-31\"", Stands("\"9999-12-31\""), "year 9999"),
    case("Birthdate", "\"2023-02-29\"", Refused("INVALID_TYPE"), "no such day"),
    case("Birthdate", "\"2024-10-27T02:30:00+02:00\"", Refused("INVALID_TYPE"), "a moment is no day"),
    case("Birthdate", "20240229", Refused("INVALID_TYPE"), "nor is a number"),
    case("DoNotCall", "true", Stands("true"), "a flag"),
    case("DoNotCall", "1", Stands("true"), "as SQLite has it"),
    case("DoNotCall", "\"false\"", Stands("false"), "as CSV has it"),
    case("DoNotCall", "\"maybe\"", Refused("INVALID_TYPE"), "neither"),
    case("Email", "\"nobody\"", Refused("INVALID_EMAIL_ADDRESS"), "no address"),
];

const ACCOUNT: &[Case] = &[
    case(
        "AnnualRevenue",
        "12345678901234567890.123456789012345678",
        Stands("12345678901234567890.123456789012345678"),
        "38 digits",
    ),
    case("AnnualRevenue", "\"1.50\"", Stands("1.50"), "text that is a number"),
    case("AnnualRevenue", "\"007\"", Refused("INVALID_TYPE"), "text that is none"),
    case("AnnualRevenue", "-0.0", Stands("-0.0"), "with its sign"),
    case("NumberOfEmployees", "7", Stands("7"), "a whole number"),
    case("NumberOfEmployees", "7.5", Refused("INVALID_TYPE"), "half an employee"),
];

const OUTREACH: &[Case] = &[
    case("tags", "[\"b\", \"a\"]", Stands("[\"b\",\"a\"]"), "a list keeps its order"),
    case("tags", "\"b;a\"", Refused("must be a list"), "text is no list"),
    case("custom1", "18446744073709551615", Stands("18446744073709551615"), "the end of u64"),
    case("custom2", "1e400", Stands("1e400"), "beyond floats"),
    case("description", "\" padded \\u0000\"", Stands("\" padded \\u0000\""), "as it is"),
];

/// A link from a file of JSON lines to a stream with declared fields.
struct Road {
    link: &'static str,
    system: &'static str,
    stream: &'static str,
    key: &'static str,
    /// What every record there must have.
    name: &'static str,
    cases: &'static [Case],
}

const ROADS: [Road; 3] = [
    Road {
        link: "contacts",
        system: "salesforce",
        stream: "Contact",
        key: "External_Id__c",
        name: "LastName",
        cases: CONTACT,
    },
    Road {
        link: "accounts",
        system: "salesforce",
        stream: "Account",
        key: "External_Id__c",
        name: "Name",
        cases: ACCOUNT,
    },
    Road {
        link: "companies",
        system: "outreach",
        stream: "accounts",
        key: "customId",
        name: "name",
        cases: OUTREACH,
    },
];

impl Road {
    fn file(&self) -> String {
        format!("data/{}.jsonl", self.link)
    }

    fn entry(&self) -> String {
        format!(
            "[default.links.{}]\na = {{ system = \"files\", stream = \"{}.jsonl\", key = \"record_id\" }}\n\
             b = {{ system = \"{}\", stream = \"{}\", key = \"{}\" }}\npoll_interval = 3600\n\n",
            self.link, self.link, self.system, self.stream, self.key
        )
    }

    fn rules(&self) -> (String, serde_json::Value) {
        let mut fields = json!({ "record_id": self.key, "called": self.name });
        self.cases.iter().for_each(|case| fields[case.field] = json!(case.field));
        (self.link.to_owned(), json!({ "fields": fields }))
    }

    fn lines(&self) -> String {
        let line = |(at, case): (usize, &Case)| {
            format!("{{\"record_id\":\"k{at:02}\",\"called\":\"Case\",\"{}\":{}}}\n", case.field, case.given)
        };
        self.cases.iter().enumerate().map(line).collect()
    }
}

type Object = BTreeMap<String, Box<RawValue>>;

fn find<'o>(objects: &'o [Object], key: &str, at: usize) -> Option<&'o Object> {
    objects.iter().find(|object| object[key].get() == format!("\"k{at:02}\""))
}

#[tokio::test]
async fn declared_fields_take_what_fits_them_and_refuse_the_rest_by_name() {
    let rules = json!({ "links": ROADS.iter().map(Road::rules).collect::<serde_json::Map<_, _>>() });
    let home = Home::new("", &rules.to_string());
    let mocks =
        ["salesforce", "outreach"].map(|system| (system, Outside::start(&home, system, &["--strict"])));
    let mut settings = String::from(
        "[service]\nstate = \"sqlite:data/state.sqlite\"\n[default]\nmax_requests = 100000\nwindow_size = 1\n\
         flush_interval = 0.0\n[default.systems.files]\nconnector = \"file\"\npath = \"data\"\n",
    );
    for (system, mock) in &mocks {
        settings += &format!(
            "[default.systems.{system}]\nconnector = \"{system}\"\nbase_url = \"{}\"\nclient_id = \"client-id\"\n\
             client_secret = \"client-secret\"\n{}\n",
            mock.url(),
            if *system == "outreach" { "refresh_token = \"or-refresh-1\"\noverlap_ms = 0" } else { "" }
        );
    }
    for road in &ROADS {
        settings += &road.entry();
        home.write(&road.file(), &road.lines());
    }
    home.write("customer_settings.toml", &settings);
    let daemon = Daemon::start(&home);
    let mut wrong = Vec::new();
    for road in &ROADS {
        for _ in 0..3 {
            daemon.pass(road.link).await;
        }
        let (_, mock) = mocks.iter().find(|(system, _)| *system == road.system).unwrap();
        let text = mock.text(&format!("records/{}", road.stream)).await;
        let there: Vec<Object> = serde_json::from_str(&text).unwrap();
        let lines = home.read(&road.file());
        let source: Vec<Object> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (at, case) in road.cases.iter().enumerate() {
            let told = daemon.get(&format!("/v1/sync/status/k{at:02}?link={}", road.link)).await;
            let error = told.body["links"][0]["a_to_b"]["error"].as_str().unwrap_or_default().to_owned();
            let stands = find(&there, road.key, at).map(|object| object[case.field].get());
            let good = match case.fate {
                Stands(json) => stands == Some(json),
                Refused(says) => {
                    stands.is_none()
                        && error.contains(says)
                        && error.contains(case.field)
                        && error.contains("; ")
                }
            };
            let home = find(&source, "record_id", at).unwrap()[case.field].get();
            if !good || home != case.given {
                wrong.push(format!(
                    "{} {} {}: stands as {stands:?}, {error:?}, at home {home} ({})",
                    road.link, case.field, case.given, case.why
                ));
            }
        }
        let before = mock.get("arrivals").await.iter().filter(|arrival| is_write(arrival)).count();
        let quiet = daemon.pass(road.link).await;
        assert_eq!((&quiet["synced"], &quiet["failed"]), (&json!(0), &json!(0)), "{}: {quiet}", road.link);
        let reads = |arrival: &&serde_json::Value| road.system == "salesforce" && arrival["method"] == "POST";
        let after = mock.get("arrivals").await;
        let after =
            after.iter().filter(|arrival| is_write(arrival)).skip(before).filter(|it| !reads(it)).count();
        assert_eq!(after, 0, "{}: all is said", road.link);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(daemon.terminate().success());
}
