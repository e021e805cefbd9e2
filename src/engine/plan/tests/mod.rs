//! The planner as tables and as laws.

mod circles;
mod enumeration;
mod fuses;
mod moments;
mod picks;
mod recognised;
mod table;

use super::{
    Action, Decision, MadeFrom, Occasion, Pair, Projected, Seen, Written, delivered, mark, observe, reconcile,
};
use crate::engine::record::{Direction, Image, Key, Meta, Side, Timestamp, Value, value_from_json};
use crate::engine::rules::{ConflictPolicy, EndFacts, LinkFacts, LinkRules, RulesFile};

const NOW: Timestamp = Timestamp(1_000);

/// Compiles one link's entry, written as its content, for two ends with `id`, `x`, `y` and `z`.
fn rules(entry: &str) -> LinkRules {
    rules_with(entry, ConflictPolicy::Newest, [true, true])
}

fn rules_with(entry: &str, first_contact: ConflictPolicy, [a_to_b, b_to_a]: [bool; 2]) -> LinkRules {
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
    let facts =
        LinkFacts { link: "l".into(), a: end("left"), b: end("right"), a_to_b, b_to_a, first_contact };
    let text = format!(r#"{{"links": {{"l": {{{entry}}}}}}}"#);
    RulesFile::parse(&text).and_then(|file| file.compile(1, &facts)).expect("fit rules")
}

/// `x` and `y` stand for each other under their own names.
const XY: &str = r#""fields": {"id": "id", "x": "x", "y": "y"}"#;

/// An image out of `x=1 y=null`: what is not named is absent.
fn image(rules: &LinkRules, side: Side, text: &str) -> Image {
    let shape = rules.shape(side);
    let mut values = vec![Value::Absent; shape.len()];
    for (name, value) in
        std::iter::once("id=k").chain(text.split_whitespace()).filter_map(|part| part.split_once('='))
    {
        let value = match value {
            "null" => Value::Null,
            text => serde_json::from_str(text).map_or(Value::text(text), |json| value_from_json(&json)),
        };
        if let Some(at) = shape.position(name) {
            values[at] = value;
        }
    }
    Image { shape: shape.clone(), values: values.into() }
}

/// Says what an image shows, without its key: `x=1 y=null`.
fn text(image: &Image) -> String {
    let shown = image.shape.names().zip(&image.values).filter(|(name, _)| *name != "id");
    let parts = shown.filter(|(_, value)| !matches!(value, Value::Absent)).map(|(name, value)| match value {
        Value::Unknown => format!("{name}=?"),
        value => format!("{name}={}", value.to_plain().unwrap_or_else(|| "null".into())),
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// A side in words: `-` never seen, `gone`, `=` as the base, else what it looks like now.
fn look(pair: &mut Pair, rules: &LinkRules, side: Side, base: &str, now: &str) {
    let state = pair.side_mut(side);
    state.base = (base != "-").then(|| image(rules, side, base));
    state.seen = match now {
        "-" => Seen::Never,
        "gone" => Seen::Deleted(None),
        "=" => Seen::AsBase,
        now => Seen::Changed(image(rules, side, now)),
    };
}

fn pair() -> Pair {
    Pair::new(Key::from_text("k").expect("a key"))
}

/// An action in words.
fn words(action: &Action, rules: &LinkRules, to: Side) -> String {
    let show =
        |values: &[Value]| text(&Image { shape: rules.shape(to).clone(), values: values.to_vec().into() });
    match action {
        Action::Nothing(why) => format!("{why:?}"),
        Action::Create(values) => format!("create {}", show(values)),
        Action::Update(values) => format!("update {}", show(values)),
        Action::Delete => "delete".to_owned(),
        Action::Skip(held) => format!("skip {}", held.rule),
        Action::Invalid(invalid) => format!("invalid {}", invalid.rule),
        Action::Conflict(fields) => {
            format!(
                "conflict {}",
                fields.iter().map(|field| field.a_field.as_str()).collect::<Vec<_>>().join(" ")
            )
        }
    }
}

/// How a side stands, in words: base, and what it looks like where that is something else.
fn stands(pair: &Pair, side: Side) -> String {
    let state = pair.side(side);
    let base = state.base.as_ref().map_or("-".to_owned(), text);
    match &state.seen {
        Seen::Never => format!("{base} | -"),
        Seen::Deleted(_) => format!("{base} | gone"),
        Seen::AsBase => base,
        Seen::Changed(image) => format!("{base} | {}", text(image)),
    }
}

/// Sees a record, as a poll does.
fn see(pair: &mut Pair, rules: &LinkRules, side: Side, now: &str) -> super::Observation {
    see_as(pair, rules, side, now, Meta::default())
}

fn see_as(pair: &mut Pair, rules: &LinkRules, side: Side, now: &str, meta: Meta) -> super::Observation {
    let projected = Projected { key: pair.key.clone(), image: image(rules, side, now), meta };
    observe(pair, side, projected, 1, NOW)
}

fn plan(pair: &mut Pair, rules: &LinkRules) -> Decision {
    plan_on(pair, rules, Occasion::Change)
}

fn plan_on(pair: &mut Pair, rules: &LinkRules, occasion: Occasion) -> Decision {
    let decision = reconcile(pair, rules, occasion);
    mark(pair, &decision, rules, NOW);
    decision
}

/// Carries an action out at a destination that does as told.
fn carry_out(pair: &mut Pair, rules: &LinkRules, direction: Direction, action: &Action) {
    carry_out_as(pair, rules, direction, action, None, true);
}

fn carry_out_as(
    pair: &mut Pair,
    rules: &LinkRules,
    direction: Direction,
    action: &Action,
    stored: Option<Image>,
    compared: bool,
) {
    let made_from = pair.side(direction.from()).now().cloned();
    let written = Written { stored, compared, ..written(direction, action, made_from.as_ref()) };
    delivered(pair, rules, written);
}

/// Tells a pair that a write has arrived, made from the source as it looked then.
fn arrives(
    pair: &mut Pair,
    rules: &LinkRules,
    direction: Direction,
    action: &Action,
    made_from: Option<&Image>,
) {
    delivered(pair, rules, written(direction, action, made_from));
}

/// A write of which the destination says no more than that it was carried out.
fn written<'w>(direction: Direction, action: &Action, made_from: Option<&'w Image>) -> Written<'w> {
    Written {
        direction,
        action: action.clone(),
        made_from: MadeFrom::Then(made_from),
        id: None,
        revision: None,
        stored: None,
        compared: true,
        epoch: 1,
        now: NOW,
    }
}
