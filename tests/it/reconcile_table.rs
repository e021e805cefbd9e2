//! The reconcile table: one small file a case under `tests/reconcile`, each with its reason.
//!
//! A case begins with what both sides agreed on (`base`) and goes on by steps. A step says what is seen at
//! `a` and at `b` (left out: that side is not looked at), what each direction has to decide, and what a
//! destination makes of what it is given (`stored_a`, `stored_b`). Whatever is decided is carried out unless
//! the step says `delivered = false`. `a` and `b` are seen in both orders, which must make no difference;
//! at the end both sides are read back, and nothing may be left to do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use record_sync::engine::plan::{
    Action, MadeFrom, Occasion, Pair, Projected, Seen, Written, delivered, mark, observe, observe_deleted,
    reconcile,
};
use record_sync::engine::record::{
    Direction, Image, Key, Meta, Revision, Side, Timestamp, Value, value_from_json,
};
use record_sync::engine::rules::{ConflictPolicy, EndFacts, LinkFacts, LinkRules, RulesFile};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    reason: String,
    /// The link's entry in `rules.json`.
    rules: String,
    direction: Option<String>,
    first_contact: Option<String>,
    /// `x=1 y=null`, of both sides or a side each.
    base: Option<Base>,
    step: Vec<Step>,
    after: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Base {
    Both(String),
    Each { a: String, b: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    why: String,
    /// Which pair; `k` where left out.
    key: Option<String>,
    /// New rules from here on.
    rules: Option<String>,
    a: Option<String>,
    b: Option<String>,
    a_stamp: Option<i64>,
    b_stamp: Option<i64>,
    a_revision: Option<String>,
    b_revision: Option<String>,
    a_to_b: String,
    b_to_a: String,
    #[serde(default = "yes")]
    delivered: bool,
    /// What the destination makes of it, as its answer tells.
    stored_a: Option<String>,
    stored_b: Option<String>,
    /// The revision that the destination's answer names.
    revision: Option<String>,
}

fn yes() -> bool {
    true
}

const NOW: Timestamp = Timestamp(1_000);

fn compile(case: &Case, entry: &str, version: u32) -> LinkRules {
    let end = |system: &str| EndFacts {
        system: system.into(),
        connector: "sqlite".into(),
        stream: "t".into(),
        key: vec!["id".into()],
        fields: ["id", "x", "y", "z"].map(str::to_owned).to_vec(),
        open: false,
        walks: Vec::new(),
        barred: Default::default(),
    };
    let direction = case.direction.as_deref().unwrap_or("both");
    let first_contact = match case.first_contact.as_deref() {
        None | Some("newest") => ConflictPolicy::Newest,
        Some("a") => ConflictPolicy::A,
        Some("b") => ConflictPolicy::B,
        Some("manual") => ConflictPolicy::Manual,
        Some(other) => panic!("first_contact = {other:?}"),
    };
    let facts = LinkFacts {
        link: "l".into(),
        a: end("left"),
        b: end("right"),
        a_to_b: direction != "b_to_a",
        b_to_a: direction != "a_to_b",
        first_contact,
    };
    let text = format!(r#"{{"links": {{"l": {{{entry}}}}}}}"#);
    let file = RulesFile::parse(&text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    file.compile(version, &facts).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// Reads `x=1 y="" z=null`: what is not named is absent.
fn image(rules: &LinkRules, side: Side, key: &str, text: &str) -> Image {
    let shape = rules.shape(side);
    let mut values = vec![Value::Absent; shape.len()];
    values[shape.position("id").unwrap()] = Value::text(key);
    for (name, value) in text.split_whitespace().map(|part| part.split_once('=').expect("name=value")) {
        let value = match value {
            "null" => Value::Null,
            text => serde_json::from_str(text).map_or(Value::text(text), |json| value_from_json(&json)),
        };
        // A field that no rule knows is not looked at.
        if let Some(at) = shape.position(name) {
            values[at] = value;
        }
    }
    Image { shape: Arc::clone(shape), values: values.into() }
}

fn text(shape_of: &LinkRules, side: Side, values: &[Value]) -> String {
    let shown = shape_of.shape(side).names().zip(values).filter(|(name, _)| *name != "id");
    let parts = shown.filter(|(_, value)| !matches!(value, Value::Absent)).map(|(name, value)| match value {
        Value::Unknown => format!("{name}=?"),
        Value::Text(text) if text.is_empty() => format!("{name}=\"\""),
        value => format!("{name}={}", value.to_plain().unwrap_or_else(|| "null".into())),
    });
    parts.collect::<Vec<_>>().join(" ")
}

fn words(action: &Action, rules: &LinkRules, to: Side) -> String {
    match action {
        Action::Nothing(_) => "nothing".to_owned(),
        Action::Create(values) => format!("create {}", text(rules, to, values)),
        Action::Update(values) => format!("update {}", text(rules, to, values)),
        Action::Delete => "delete".to_owned(),
        Action::Skip(held) => format!("skip {}", held.rule),
        Action::Invalid(invalid) => format!("invalid {}", invalid.rule),
        Action::Conflict(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.a_field.as_str()).collect();
            format!("conflict {}", names.join(" "))
        }
    }
}

/// How a side stands: what it shows, and `(base …)` where that is something else.
fn stands(pair: &Pair, rules: &LinkRules, side: Side) -> String {
    let state = pair.side(side);
    match &state.seen {
        Seen::Never => "never".to_owned(),
        Seen::Deleted(_) => "gone".to_owned(),
        Seen::AsBase => state.base.as_ref().map(|base| text(rules, side, &base.values)).unwrap_or_default(),
        Seen::Changed(now) => {
            let base = state.base.as_ref().map_or("-".to_owned(), |base| text(rules, side, &base.values));
            format!("{} (base {base})", text(rules, side, &now.values))
        }
    }
}

/// One run of a case, with one side seen first.
struct Run<'c> {
    case: &'c Case,
    rules: LinkRules,
    pairs: BTreeMap<String, Pair>,
    first: Side,
}

impl<'c> Run<'c> {
    fn new(case: &'c Case, first: Side) -> Self {
        let rules = compile(case, &case.rules, 1);
        let mut pair = Pair::new(Key::from_text("k").unwrap());
        if let Some(base) = &case.base {
            let (a, b) = match base {
                Base::Both(both) => (both, both),
                Base::Each { a, b } => (a, b),
            };
            for (side, base) in [(Side::A, a), (Side::B, b)] {
                let state = pair.side_mut(side);
                state.base = Some(image(&rules, side, "k", base));
                state.seen = Seen::AsBase;
            }
        }
        Self { case, rules, pairs: [("k".to_owned(), pair)].into(), first }
    }

    fn plan(&self, pair: &mut Pair, occasion: Occasion) -> [Action; 2] {
        let decision = reconcile(pair, &self.rules, occasion);
        mark(pair, &decision, &self.rules, NOW);
        Direction::BOTH.map(|direction| decision.action(direction).clone())
    }

    fn step(&mut self, number: usize, step: &Step) -> Result<(), String> {
        let key = step.key.clone().unwrap_or_else(|| "k".to_owned());
        let mut occasion = Occasion::Change;
        if let Some(entry) = &step.rules {
            self.rules = compile(self.case, entry, 2 + number as u32);
            occasion = Occasion::NewRules;
        }
        let known = self.pairs.remove(&key).unwrap_or_else(|| Pair::new(Key::from_text(&key).unwrap()));
        let mut pair = known;
        for side in [self.first, self.first.other()] {
            let (look, stamp, revision) = match side {
                Side::A => (&step.a, step.a_stamp, &step.a_revision),
                Side::B => (&step.b, step.b_stamp, &step.b_revision),
            };
            let modified_at = stamp.map(Timestamp);
            match look.as_deref() {
                None => {}
                Some("gone") => {
                    observe_deleted(&mut pair, side, modified_at, 1, NOW);
                }
                Some(look) => {
                    let image = image(&self.rules, side, &key, look);
                    let revision = revision.as_deref().map(Into::into);
                    let meta = Meta { modified_at, revision, ..Meta::default() };
                    let projected = Projected { key: pair.key.clone(), image, meta };
                    observe(&mut pair, side, projected, 1, NOW);
                }
            }
        }
        let actions = self.plan(&mut pair, occasion);
        for (direction, wanted) in Direction::BOTH.into_iter().zip([&step.a_to_b, &step.b_to_a]) {
            let got = words(&actions[direction as usize], &self.rules, direction.to());
            if got != *wanted {
                return Err(format!(
                    "step {number} ({}): {} is `{got}`, not `{wanted}`",
                    step.why,
                    direction.as_str()
                ));
            }
        }
        if step.delivered {
            for (direction, action) in Direction::BOTH.into_iter().zip(actions) {
                let stored = match direction.to() {
                    Side::A => &step.stored_a,
                    Side::B => &step.stored_b,
                };
                let stored = stored.as_ref().map(|text| image(&self.rules, direction.to(), &key, text));
                let revision = step.revision.as_deref().map(Into::into);
                self.carry_out(&mut pair, (direction, action), stored, revision);
            }
            self.plan(&mut pair, Occasion::Change);
        }
        self.pairs.insert(key, pair);
        Ok(())
    }

    fn carry_out(
        &self,
        pair: &mut Pair,
        (direction, action): (Direction, Action),
        stored: Option<Image>,
        revision: Option<Revision>,
    ) {
        if !action.is_write() {
            return;
        }
        let made_from = pair.side(direction.from()).now().cloned();
        let written = Written {
            direction,
            action,
            made_from: MadeFrom::Then(made_from.as_ref()),
            id: None,
            revision,
            stored,
            compared: true,
            epoch: 1,
            now: NOW,
        };
        delivered(pair, &self.rules, written);
    }

    /// Checks how both sides stand, and that reading them back leaves nothing to do.
    fn end(&mut self) -> Result<(), String> {
        for (place, wanted) in &self.case.after {
            let (key, side) = place.split_once('.').unwrap_or(("k", place));
            let side = if side == "a" { Side::A } else { Side::B };
            let got = stands(&self.pairs[key], &self.rules, side);
            if got != *wanted {
                return Err(format!("afterwards {place} is `{got}`, not `{wanted}`"));
            }
        }
        let last_delivered = self.case.step.last().is_some_and(|step| step.delivered);
        for (key, mut pair) in std::mem::take(&mut self.pairs) {
            for side in Side::BOTH {
                if let Some(image) = pair.side(side).now().cloned() {
                    let projected = Projected { key: pair.key.clone(), image, meta: Meta::default() };
                    observe(&mut pair, side, projected, 2, NOW);
                }
            }
            let actions = self.plan(&mut pair, Occasion::Change);
            if last_delivered && actions.iter().any(Action::is_write) {
                return Err(format!("{key} does not come to rest: {actions:?}"));
            }
        }
        Ok(())
    }
}

fn holds(case: &Case, first: Side) -> Result<(), String> {
    let mut run = Run::new(case, first);
    for (number, step) in case.step.iter().enumerate() {
        run.step(number + 1, step)?;
    }
    run.end()
}

#[test]
fn reconcile_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reconcile");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    let mut steps = 0;
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let case: Case = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(case.reason.len() > 20, "{name} says why it is there");
        steps += case.step.len();
        for first in Side::BOTH {
            if let Err(trouble) = holds(&case, first) {
                wrong.push(format!("{name}, {} first: {trouble}\n    {}", first.as_str(), case.reason));
            }
        }
    }
    println!("reconcile table: {} cases, {steps} steps, each with either side seen first", files.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
