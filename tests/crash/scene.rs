//! The reference runs: a folder as it stands before, the command, and what both sides must hold after.

use std::collections::BTreeMap;

use crate::home::{Home, add_people};
use crate::outside::Outside;
use crate::person;

/// What a side holds: by key the name and the address.
pub type People = BTreeMap<i64, (String, String)>;

/// What the table is linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    File,
    /// Creates by an external id: a repeated call finds what the first one made.
    Salesforce,
    /// The mock inside the process that dies, with its records in a file.
    BuiltIn,
    /// Has no such thing: a repeated call makes a second record.
    Outreach,
}

/// How far the two sides are when the reference run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is no state; the run makes it and nothing else.
    State,
    /// Both sides hold records and never met.
    First,
    /// Both sides agreed; then people edited, added and deleted on both.
    Edits,
}

/// A kind of reference run.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub name: &'static str,
    pub other: Other,
    pub stage: Stage,
}

pub const SCENES: &[Scene] = &[
    Scene { name: "state", other: Other::File, stage: Stage::State },
    Scene { name: "file-first", other: Other::File, stage: Stage::First },
    Scene { name: "file-edits", other: Other::File, stage: Stage::Edits },
    Scene { name: "salesforce-first", other: Other::Salesforce, stage: Stage::First },
    Scene { name: "salesforce-edits", other: Other::Salesforce, stage: Stage::Edits },
    Scene { name: "builtin-edits", other: Other::BuiltIn, stage: Stage::Edits },
    Scene { name: "outreach-edits", other: Other::Outreach, stage: Stage::Edits },
];

/// The records of a reference run, before people begin to edit.
const RECORDS: i64 = 300;

pub const LINK: &str = "both";
pub const FILE: &str = "files/people.csv";
const CRM: &str = "data/crm.sqlite";
/// Where the built-in mock keeps its records.
const BUILT_IN: &str = "data/mock/default-other.sqlite";

const SETTINGS: &str = r#"
[service]
state = "sqlite:data/state.sqlite"
log_dir = "logs"

[default]
max_requests = 100000
window_size = 1
flush_interval = 0.05
retry = { base = 0.1, max = 0.5, attempts_max = 50 }
breaker = { failures = 5, open_for = 0.2, open_max = 0.5 }

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"
"#;

const ENDS: &str = r#"
poll_interval = 0.2
first_contact = "a"
"#;

impl Other {
    /// The mock that plays it.
    fn mock(self) -> Option<&'static str> {
        match self {
            Self::File => None,
            Self::Salesforce | Self::BuiltIn => Some("salesforce"),
            Self::Outreach => Some("outreach"),
        }
    }

    pub fn stream(self) -> &'static str {
        match self {
            Self::File => "people.csv",
            Self::Salesforce | Self::BuiltIn => "Contact",
            Self::Outreach => "prospects",
        }
    }

    /// Starts the mock over the folder's data, as a process of its own.
    pub fn open(self, home: &Home) -> Option<Outside> {
        let data = if self == Self::BuiltIn { BUILT_IN } else { CRM };
        self.mock().map(|system| Outside::start(home, system, &["--data", data]))
    }

    /// Writes the settings, and starts the mock that they point at unless it is the built-in one.
    pub fn connect(self, home: &Home) -> Option<Outside> {
        let mock = if self == Self::BuiltIn { None } else { self.open(home) };
        let url = mock.as_ref().map_or("", Outside::url);
        let keys = "client_id = \"client-id\"\nclient_secret = \"client-secret\"\n";
        let system = match self {
            Self::File => "connector = \"file\"\npath = \"files\"\n".to_owned(),
            Self::Salesforce => format!("connector = \"salesforce\"\nbase_url = \"{url}\"\n{keys}"),
            Self::BuiltIn => "connector = \"salesforce\"\nbase_url = \"mock\"\n".to_owned(),
            Self::Outreach => {
                let token = "refresh_token = \"or-refresh-1\"\noverlap_ms = 300\n";
                format!("connector = \"outreach\"\nbase_url = \"{url}\"\n{keys}{token}")
            }
        };
        let key = if self == Self::File { "id" } else { "record_id" };
        let stream = self.stream();
        home.write(
            "customer_settings.toml",
            &format!(
                "{SETTINGS}\n[default.systems.other]\n{system}\n[default.links.{LINK}]\n\
                 a = {{ system = \"app\", stream = \"users\", key = \"record_id\" }}\n\
                 b = {{ system = \"other\", stream = \"{stream}\", key = \"{key}\" }}{ENDS}"
            ),
        );
        mock
    }

    fn rules(self) -> String {
        let key = if self == Self::File { "id" } else { "record_id" };
        format!(
            "{{\"links\": {{\"{LINK}\": {{\"fields\": {{\"record_id\": \"{key}\", \"name\": \"full_name\", \
             \"email\": \"email\"}}, \"conflict\": \"a\", \"deletes\": \"propagate\"}}}}}}"
        )
    }
}

/// A folder that is ready for the reference run.
pub struct Prepared {
    pub scene: Scene,
    pub home: Home,
    pub wanted: People,
}

impl Scene {
    pub fn find(name: &str) -> Option<Self> {
        SCENES.iter().copied().find(|scene| scene.name == name)
    }

    /// What is run under the fault.
    pub fn arguments(&self, patience: &'static str) -> Vec<&'static str> {
        match self.stage {
            // A link that is not there is found out after the state was made.
            Stage::State => vec!["once", "--link", "nowhere", "--json"],
            _ => vec!["once", "--link", LINK, "--json", "--timeout", patience],
        }
    }

    /// Makes the folder. The first time, the sides share some records and differ in a few of them.
    pub fn prepare(self) -> Prepared {
        let home = Home::new("", &self.other.rules());
        add_people(&mut home.app(), 1..=200);
        let mut found: People = (151..=RECORDS).map(|id| (id, original(id))).collect();
        for id in 151..=160 {
            found.insert(id, (format!("Somebody {id}"), original(id).1));
        }
        Side::visit(self.other, &home, |there| there.fill(&found));
        let mut wanted: People = (1..=RECORDS).map(|id| (id, original(id))).collect();
        let mock = self.other.connect(&home);
        if self.stage != Stage::State {
            let made = home.run(&["once", "--link", "nowhere", "--json"]);
            assert!(home.path("data/state.sqlite").exists(), "{made:?}");
        }
        if self.stage == Stage::Edits {
            home.once(LINK);
        }
        if let Some(mock) = mock {
            mock.terminate();
        }
        if self.stage == Stage::Edits {
            edit_here(&home, &mut wanted);
            Side::visit(self.other, &home, |there| there.edit(&mut wanted));
        }
        Prepared { scene: self, home, wanted }
    }
}

fn original(id: i64) -> (String, String) {
    (format!("Person {id}"), format!("person{id}@example.test"))
}

/// Deleted at the table, deleted at the other side: few enough for the fuse.
const GONE_HERE: [i64; 5] = [11, 12, 13, 16, 17];
const GONE_THERE: [i64; 5] = [22, 23, 24, 26, 27];

/// What people do at the table: the names of every seventh, some new, some gone.
fn edit_here(home: &Home, wanted: &mut People) {
    let conn = home.app();
    for (id, (name, _)) in wanted.iter_mut().filter(|(id, _)| *id % 7 == 0) {
        *name = format!("Person {id} of the table");
        conn.execute("UPDATE users SET name = ?2 WHERE record_id = ?1", (id, &*name)).unwrap();
    }
    add_people(&mut home.app(), 401..=410);
    wanted.extend((401..=410).map(|id| (id, original(id))));
    for id in GONE_HERE {
        conn.execute("DELETE FROM users WHERE record_id = ?1", [id]).unwrap();
        wanted.remove(&id);
    }
}

/// The side across the table, in the hands of a person.
struct Side<'h> {
    other: Other,
    home: &'h Home,
    mock: Option<&'h Outside>,
}

impl Side<'_> {
    /// Lets a person work there, while nothing else runs.
    fn visit(other: Other, home: &Home, work: impl FnOnce(&Side<'_>)) {
        let mock = other.open(home);
        work(&Side { other, home, mock: mock.as_ref() });
        if let Some(mock) = mock {
            mock.terminate();
        }
    }

    fn fill(&self, people: &People) {
        match self.mock {
            None => self.home.write(FILE, &csv(people)),
            Some(mock) => person::at(self.other, mock.url()).save(people),
        }
    }

    /// What people do there: the addresses of every fifth (also of some that the table renames), and
    /// names that the table renames as well, which lose; some new, some gone.
    fn edit(&self, wanted: &mut People) {
        let mut now: People = (1..=RECORDS).map(|id| (id, original(id))).collect();
        let mut changed = People::new();
        for (id, (name, address)) in &mut now {
            let before = address.clone();
            if id % 5 == 0 && !GONE_HERE.contains(id) {
                *address = format!("person{id}@other.test");
                if let Some(wanted) = wanted.get_mut(id) {
                    wanted.1.clone_from(address);
                }
            }
            if id % 49 == 0 {
                *name = format!("Person {id} of the other");
            }
            if *address != before || id % 49 == 0 {
                changed.insert(*id, (name.clone(), address.clone()));
            }
        }
        for id in 501..=510 {
            now.insert(id, original(id));
            changed.insert(id, original(id));
            wanted.insert(id, original(id));
        }
        for id in GONE_THERE {
            now.remove(&id);
            wanted.remove(&id);
        }
        match self.mock {
            None => self.home.write(FILE, &csv(&now)),
            Some(mock) => {
                let person = person::at(self.other, mock.url());
                person.save(&changed);
                person.remove(&GONE_THERE);
            }
        }
    }
}

fn csv(people: &People) -> String {
    let lines = people.iter().map(|(id, (name, address))| format!("{id},{name},{address}\n"));
    std::iter::once("id,full_name,email\n".to_owned()).chain(lines).collect()
}
