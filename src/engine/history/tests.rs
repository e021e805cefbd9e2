//! Events as they are kept, and what can be brought back of them.

use std::collections::BTreeMap;

use super::*;
use crate::engine::plan::{Pair, Seen, SideState};
use crate::engine::record::{Image, Number, Schema, Value};
use crate::engine::rules::{ConflictPolicy, EndFacts, LinkFacts, LinkRules, RulesFile};

const AT: Timestamp = Timestamp(1_800_000_000_000);

fn event(what: What) -> Event {
    Event {
        at: AT,
        key: Key::from_text("7").unwrap(),
        direction: Some(Direction::AToB),
        rules_version: 1,
        run: "r1".into(),
        attempt: 1,
        what,
    }
}

fn write(operation: Operation, fields: &[(&str, Value, Value)]) -> Event {
    let fields = fields.iter().map(|(name, before, sent)| Overwritten {
        name: (*name).to_owned(),
        before: before.into(),
        sent: sent.into(),
        stored: None,
        agreed: None,
        policy: None,
    });
    event(What::Written(Written {
        operation,
        id: None,
        revision: None,
        fields: fields.collect(),
        seen: Vec::new(),
        modified_at: None,
        asked: false,
    }))
}

#[test]
fn every_value_comes_back_as_it_was() {
    // (value, why)
    let cases = [
        (Value::Unknown, "nobody has seen it"),
        (Value::Absent, "not there is not null"),
        (Value::Null, "null is not empty"),
        (Value::text(""), "empty is not null"),
        (Value::Bool(true), "a truth"),
        (Value::Int(9_007_199_254_740_993), "2^53+1"),
        (Number::parse("12345678901234567890.10").unwrap(), "its own text"),
        (Number::parse("1e400").unwrap(), "beyond floats"),
        (Value::text("a\0\"é\u{1f600}{"), "anything in a text"),
        (Value::Bytes([0, 255].into()), "bytes are not their hex"),
        (Value::Json(r#"{"absent":true}"#.into()), "an object that looks like one of ours"),
        (Value::Json("[1,2.50]".into()), "a list"),
    ];
    for (value, why) in cases {
        let told = write(Operation::Update, &[("f", value.clone(), Value::Null)]).what;
        let back = What::decode(&told.encode()).unwrap_or_else(|| panic!("{why}: {}", told.encode()));
        let What::Written(written) = back else { panic!("{why}") };
        assert_eq!(format!("{:?}", written.fields[0].before.0), format!("{value:?}"), "{why}");
    }
}

#[test]
fn kinds_are_told_apart_by_their_words() {
    let failure = Failure { code: "timeout".into(), message: "m".into() };
    let all = [
        write(Operation::Delete, &[]).what,
        What::Failed(failure.clone()),
        What::Dead(failure),
        What::Held { rule: "filters.x".into() },
        What::Released { rule: "filters.x".into() },
        What::Conflict(Vec::new()),
        What::Resolved(vec![Resolution::side("x", "y", Side::B)]),
        What::Forgotten,
    ];
    for (what, word) in all.iter().zip(What::KINDS) {
        assert_eq!(what.kind(), word);
        assert_eq!(What::decode(&what.encode()).as_ref(), Some(what));
        assert!(!event(what.clone()).words("app", "crm").is_empty());
    }
}

/// A pair whose `b` shows these fields.
fn showing(fields: &[(&str, Value)]) -> Pair {
    let shape = Schema::new(fields.iter().map(|(name, _)| *name));
    let values = fields.iter().map(|(_, value)| value.clone()).collect();
    let mut pair = Pair::new(Key::from_text("7").unwrap());
    pair.b.seen = Seen::Changed(Image { shape, values });
    pair
}

#[test]
fn only_what_stands_as_we_left_it_is_brought_back() {
    let text = |text: &str| Value::text(text);
    let to = |before: &str, sent: &str| write(Operation::Update, &[("n", text(before), text(sent))]);
    let gone = || write(Operation::Delete, &[("n", text("Z"), Value::Absent)]);
    let both = |first: Event, second: Event| vec![(first, true), (second, true)];
    // (events with whether they are chosen, what stands there, restored, kept for, why)
    type Case = (Vec<(Event, bool)>, Option<Value>, Option<Value>, Option<&'static str>, &'static str);
    let cases: Vec<Case> = vec![
        (vec![(to("A", "B"), true)], Some(text("B")), Some(text("A")), None, "as we left it"),
        (
            vec![(to("A", "B"), true)],
            Some(text("C")),
            None,
            Some("somebody has changed it since"),
            "a person's edit stays",
        ),
        (
            both(to("A", "B"), to("B", "C")),
            Some(text("C")),
            Some(text("A")),
            None,
            "back to before the first",
        ),
        (
            vec![(to("A", "B"), true), (to("B", "C"), false)],
            Some(text("C")),
            None,
            Some("we wrote it again since"),
            "a later write is not to be undone",
        ),
        (
            vec![(to("A", "B"), false), (to("B", "C"), true)],
            Some(text("C")),
            Some(text("B")),
            None,
            "back to what an earlier write left",
        ),
        (
            vec![(write(Operation::Update, &[("n", Value::Absent, text("B"))]), true)],
            Some(text("B")),
            Some(Value::Null),
            None,
            "what was not there becomes null",
        ),
        (
            vec![(to("A", "B"), true)],
            Some(text("A")),
            None,
            Some("it shows the old value already"),
            "nothing to do",
        ),
        (
            vec![(to("A", "B"), true)],
            None,
            None,
            Some("the record is not there any more"),
            "nowhere to write",
        ),
        (vec![(gone(), true)], None, Some(text("Z")), None, "the deleted record comes back"),
        (both(to("A", "Z"), gone()), None, Some(text("A")), None, "and as it was before the edit"),
        (vec![(gone(), true)], Some(text("Y")), None, Some("the record is there again"), "no second one"),
        (
            vec![(write(Operation::Create, &[("n", Value::Absent, text("B"))]), true)],
            Some(text("B")),
            None,
            Some("we made this record, so nothing stood there before"),
            "nothing is deleted",
        ),
    ];
    for (events, now, restored, kept, why) in cases {
        let events: Vec<_> = (1..).zip(&events).map(|(id, (event, chosen))| (id, event, *chosen)).collect();
        let pair = now.map(|now| showing(&[("n", now)]));
        let plan = plan(&events, pair.as_ref(), &|_, _| true);
        let data: Vec<BTreeMap<String, Cell>> =
            plan.restores.into_iter().map(|restore| restore.data).collect();
        let expected: Vec<_> =
            restored.iter().map(|value| BTreeMap::from([("n".to_owned(), Cell(value.clone()))])).collect();
        assert_eq!(data, expected, "{why}");
        let reasons: Vec<_> = plan.kept.iter().map(|kept| kept.reason).collect();
        assert_eq!(reasons, kept.into_iter().collect::<Vec<_>>(), "{why}");
    }
}

#[test]
fn a_write_tells_what_it_overwrote_and_who_lost() {
    let end = |system: &str| EndFacts {
        system: system.into(),
        connector: "sqlite".into(),
        stream: "t".into(),
        key: vec!["id".into()],
        fields: ["id", "x", "y"].map(str::to_owned).to_vec(),
        open: false,
        walks: Vec::new(),
        barred: Default::default(),
    };
    let rules = |both: bool| {
        let facts = LinkFacts {
            link: "l".into(),
            a: end("left"),
            b: end("right"),
            a_to_b: true,
            b_to_a: both,
            first_contact: ConflictPolicy::A,
        };
        let text = r#"{"links": {"l": {"fields": {"id": "id", "x": "x"}, "conflict": "max"}}}"#;
        RulesFile::parse(text).and_then(|file| file.compile(1, &facts)).unwrap()
    };
    let side = |rules: &LinkRules, side: Side, base: Option<&str>, now: Option<&str>| {
        let image = |x: &str| {
            let shape = rules.shape(side);
            let value = |name: &str| Value::text(if name == "x" { x } else { "7" });
            Image { shape: shape.clone(), values: shape.names().map(value).collect() }
        };
        SideState {
            base: base.map(image),
            seen: now.map_or(Seen::Deleted(None), |now| Seen::Changed(image(now))),
            ..SideState::default()
        }
    };
    // (both ways, base, a, b, stored, x of the event: before, stored, agreed, policy, why)
    type Told = (&'static str, Option<&'static str>, Option<&'static str>, Option<&'static str>);
    type Case =
        (bool, Option<&'static str>, &'static str, &'static str, Option<&'static str>, Told, &'static str);
    let cases: [Case; 5] = [
        (true, Some("1"), "2", "1", None, ("1", None, None, None), "one side's edit"),
        (true, Some("1"), "2", "3", None, ("3", None, Some("1"), Some("max")), "both edited, and b lost"),
        (false, Some("1"), "2", "3", None, ("3", None, Some("1"), None), "one way: nobody decided"),
        (true, None, "2", "3", None, ("3", None, None, Some("a")), "at first contact"),
        (
            true,
            Some("1"),
            "2",
            "1",
            Some("2.0"),
            ("1", Some("2.0"), None, None),
            "stored in a form of its own",
        ),
    ];
    for (both, base, a, b, stored, expected, why) in cases {
        let rules = rules(both);
        let mut pair = Pair::new(Key::from_text("7").unwrap());
        pair.a = side(&rules, Side::A, base, Some(a));
        pair.b = side(&rules, Side::B, base, Some(b));
        let shape = rules.shape(Side::B);
        let values = shape.names().map(|name| if name == "x" { Value::text(a) } else { Value::Absent });
        let action = Action::Update(values.collect());
        let stored = stored.map(|stored| side(&rules, Side::B, None, Some(stored)).now().cloned().unwrap());
        let told = written(&pair, &rules, Direction::AToB, &action, None, stored.as_ref()).unwrap();
        let [field] = told.fields.as_slice() else { panic!("{why}: {told:?}") };
        let text = |cell: &Option<Cell>| cell.as_ref().map(|cell| cell.0.as_text().unwrap().to_owned());
        let found = (
            field.before.0.as_text().unwrap().to_owned(),
            text(&field.stored),
            text(&field.agreed),
            field.policy.clone(),
        );
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (before, stored, agreed, policy) = expected;
        assert_eq!(found, (before.to_owned(), owned(stored), owned(agreed), owned(policy)), "{why}");
        assert_eq!(told.seen.len(), usize::from(base.is_some()), "{why}: what had changed at a");
    }
    let rules = rules(true);
    let create = Action::Create([Value::text("7"), Value::text("2")].into());
    let mut pair = Pair::new(Key::from_text("7").unwrap());
    pair.a = side(&rules, Side::A, None, Some("2"));
    assert_eq!(written(&pair, &rules, Direction::AToB, &create, None, None), None, "the pair tells it");
    pair.b = side(&rules, Side::B, None, None);
    let again = written(&pair, &rules, Direction::AToB, &create, None, None).map(|told| told.operation);
    assert_eq!(again, Some(Operation::Create), "an edit beat a deletion");
}
