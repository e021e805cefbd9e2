//! Every (base, `a`, `b`) of three fields × {absent, null, v1, v2}, of deleted and of never seen, under
//! every policy.
//!
//! What has to be enumerated and what need not:
//!
//! - Where one side has no record, all cases are taken: 64 looks and more on either side.
//! - Where both have one, a field is in one of 4³ states (base, `a`, `b`), and three fields in 64³. The
//!   rules treat their fields alike, so a case is the same as another whose fields only stand in another
//!   order: all 45,760 multisets of three states are taken, in orders that vary from case to case, and the
//!   law `order_of_fields` checks that the order does not matter on a share of them.
//! - Stamps matter to `newest` and to the policies that fall back on it: these are taken with `a` newer,
//!   with `b` newer and with none, the others once.

mod laws;
mod oracle;

use std::collections::BTreeMap;

use super::*;
use crate::engine::plan::observe_deleted;

/// A field's value by number.
const VALUES: [Option<&str>; 4] = [None, Some("null"), Some("v1"), Some("v2")];

const XYZ: &str = r#""fields": {"id": "id", "x": "x", "y": "y", "z": "z"}"#;

/// When `a` and `b` were edited, where their systems tell.
type Stamps = [Option<Timestamp>; 2];

/// Three fields by the number of their values.
type Fields = [usize; 3];

/// How a side looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Never,
    Gone,
    Shows(Fields),
}

/// One state of a pair, before anything of it was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    /// Both sides agreed on this.
    base: Option<Fields>,
    looks: [Look; 2],
}

/// Under which rules the cases are taken.
struct Regime {
    name: String,
    rules: LinkRules,
    /// The same with the sides exchanged.
    mirrored: LinkRules,
    conflict: ConflictPolicy,
    deletes: Deletes,
    stamps: Stamps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletes {
    Propagate,
    Ignore,
    /// `z` becomes `v2`.
    Archive,
}

/// Figures of a run: cases, and decisions by kind.
#[derive(Default)]
struct Figures {
    cases: u64,
    kinds: BTreeMap<&'static str, u64>,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        other.kinds.into_iter().for_each(|(kind, count)| *self.kinds.entry(kind).or_default() += count);
    }
}

fn policies() -> [(&'static str, ConflictPolicy); 8] {
    use ConflictPolicy::*;
    [
        ("newest", Newest),
        ("a", A),
        ("b", B),
        ("manual", Manual),
        ("max", Max),
        ("min", Min),
        ("union", Union),
        ("non_empty", NonEmpty),
    ]
}

fn regime((word, conflict): (&str, ConflictPolicy), deletes: Deletes, stamps: Stamps) -> Regime {
    let deleted = match deletes {
        Deletes::Propagate => r#""propagate""#,
        Deletes::Ignore => r#""ignore""#,
        Deletes::Archive => r#"{"archive": {"z": "v2"}}"#,
    };
    let make = |word: &str, policy| {
        let entry = format!(r#"{XYZ}, "conflict": "{word}", "deletes": {deleted}"#);
        // First contact is settled by the same policy, so that it meets every one of them.
        rules_with(&entry, policy, [true, true])
    };
    let mirrored = match conflict {
        ConflictPolicy::A => make("b", ConflictPolicy::B),
        ConflictPolicy::B => make("a", ConflictPolicy::A),
        other => make(word, other),
    };
    let name = format!("{word}, deletes {deletes:?}, stamps {:?}", stamps.map(|at| at.map(|at| at.0)));
    Regime { name, rules: make(word, conflict), mirrored, conflict, deletes, stamps }
}

/// Every policy, with stamps where they matter.
fn regimes() -> Vec<Regime> {
    let (old, new) = (Some(Timestamp(100)), Some(Timestamp(200)));
    let mut regimes = Vec::new();
    for policy in policies() {
        regimes.push(regime(policy, Deletes::Propagate, [None, None]));
        if matches!(policy.1, ConflictPolicy::Newest | ConflictPolicy::Union | ConflictPolicy::NonEmpty) {
            regimes.push(regime(policy, Deletes::Propagate, [new, old]));
            regimes.push(regime(policy, Deletes::Propagate, [old, new]));
        }
    }
    regimes
}

fn value(number: usize) -> Value {
    match VALUES[number] {
        None => Value::Absent,
        Some("null") => Value::Null,
        Some(text) => Value::text(text),
    }
}

fn image_of(rules: &LinkRules, side: Side, fields: Fields) -> Image {
    let shape = rules.shape(side);
    let mut values = vec![Value::Absent; shape.len()];
    for (name, made) in
        [("id", Value::text("k")), ("x", value(fields[0])), ("y", value(fields[1])), ("z", value(fields[2]))]
    {
        values[shape.position(name).expect("a field")] = made;
    }
    Image { shape: shape.clone(), values: values.into() }
}

impl Case {
    /// The pair as it stood before either side was looked at.
    fn before(&self, rules: &LinkRules) -> Pair {
        let mut pair = pair();
        for (side, look) in Side::BOTH.into_iter().zip(self.looks) {
            let state = pair.side_mut(side);
            state.base = self.base.map(|fields| image_of(rules, side, fields));
            state.seen = match (&state.base, look) {
                (Some(_), _) => Seen::AsBase,
                // A deletion that was agreed on long ago.
                (None, Look::Gone) => Seen::Deleted(None),
                (None, _) => Seen::Never,
            };
        }
        pair
    }

    /// Looks at one side.
    fn observe(&self, pair: &mut Pair, stamps: Stamps, rules: &LinkRules, side: Side) {
        let at = |pair: [Look; 2]| if side == Side::A { pair[0] } else { pair[1] };
        let modified_at = if side == Side::A { stamps[0] } else { stamps[1] };
        match at(self.looks) {
            Look::Never => {}
            Look::Gone => {
                observe_deleted(pair, side, modified_at, 1, NOW);
            }
            Look::Shows(fields) => {
                let meta = Meta { modified_at, ..Meta::default() };
                let image = image_of(rules, side, fields);
                observe(pair, side, Projected { key: pair.key.clone(), image, meta }, 1, NOW);
            }
        }
    }

    fn mirrored(&self) -> Self {
        Self { base: self.base, looks: [self.looks[1], self.looks[0]] }
    }

    fn permuted(&self, order: [usize; 3]) -> Self {
        let permute = |fields: Fields| order.map(|at| fields[at]);
        let look = |look| match look {
            Look::Shows(fields) => Look::Shows(permute(fields)),
            other => other,
        };
        Self { base: self.base.map(permute), looks: self.looks.map(look) }
    }
}

/// One field's state by its number: base, `a` and `b`.
fn state(number: usize) -> [usize; 3] {
    [number / 16, number / 4 % 4, number % 4]
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

fn every_look() -> impl Iterator<Item = Fields> + Clone {
    (0..64).map(state)
}

/// Both sides have a record and once agreed: every multiset of three field states.
fn agreed_cases() -> impl Iterator<Item = Case> {
    (0..64).flat_map(|x| (x..64).flat_map(move |y| (y..64).map(move |z| (x, y, z)))).map(|(x, y, z)| {
        let [x_at, y_at, z_at] = [x, y, z].map(state);
        let layer = |at: usize| [x_at[at], y_at[at], z_at[at]];
        let case = Case { base: Some(layer(0)), looks: [Look::Shows(layer(1)), Look::Shows(layer(2))] };
        case.permuted(ORDERS[(x + 5 * y + 7 * z) % 6])
    })
}

/// Both sides have a record and never agreed: every two looks.
fn contact_cases() -> impl Iterator<Item = Case> {
    every_look()
        .flat_map(|a| every_look().map(move |b| Case { base: None, looks: [Look::Shows(a), Look::Shows(b)] }))
}

/// A side has no record: every base, and every look of the other.
fn one_sided_cases() -> impl Iterator<Item = Case> {
    let with_base = every_look().flat_map(|base| {
        let looks = std::iter::once(Look::Gone).chain(every_look().map(Look::Shows));
        looks.flat_map(move |look| {
            let base = Some(base);
            [Case { base, looks: [look, Look::Gone] }, Case { base, looks: [Look::Gone, look] }]
        })
    });
    let looks = [Look::Never, Look::Gone].into_iter().chain(every_look().map(Look::Shows));
    let without = looks.flat_map(|look| {
        [Look::Never, Look::Gone].into_iter().flat_map(move |missing| {
            [Case { base: None, looks: [look, missing] }, Case { base: None, looks: [missing, look] }]
        })
    });
    with_base.chain(without)
}

/// Takes regimes on all cores; each is one core's work.
fn run(regimes: &[Regime], cases: impl Fn() -> Vec<Case> + Sync) -> Figures {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let cases = cases();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let total = std::sync::Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(regime) = regimes.get(at) else { return };
                    let mut figures = Figures::default();
                    for (number, case) in cases.iter().enumerate() {
                        laws::hold(case, regime, number, &mut figures);
                    }
                    total.lock().expect("figures").add(figures);
                }
            });
        }
    });
    total.into_inner().expect("figures")
}

fn print(what: &str, regimes: usize, figures: &Figures) {
    let kinds: Vec<String> = figures.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("enumeration, {what}: {} cases under {regimes} regimes; {}", figures.cases, kinds.join(", "));
}

#[test]
fn records_on_both_sides() {
    let regimes = regimes();
    let figures = run(&regimes, || agreed_cases().chain(contact_cases()).collect());
    print("a record on both sides", regimes.len(), &figures);
    assert_eq!(figures.cases, 14 * (45_760 + 4_096));
}

#[test]
fn records_on_one_side_or_none() {
    let mut regimes = regimes();
    for deletes in [Deletes::Ignore, Deletes::Archive] {
        regimes.extend(policies().map(|policy| regime(policy, deletes, [None, None])));
    }
    let figures = run(&regimes, || one_sided_cases().collect());
    print("a record on one side or none", regimes.len(), &figures);
    assert_eq!(figures.cases, 30 * (64 * 65 * 2 + 66 * 4));
}
