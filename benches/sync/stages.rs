//! W11: what the engine does with a record, stage by stage: nanoseconds and allocations. No file, no state, no thread.
//!
//! The rules take eight fields over as they are, which is what most links do; one line has a filter in the expression
//! language.

use std::hint::black_box;
use std::time::Instant;

use record_sync::engine::plan::{
    MadeFrom, Occasion, Pair, Projected, Projector, Written, delivered, mark, observe, reconcile,
};
use record_sync::engine::record::{Direction, Record, Schema, Side, Timestamp, Value};
use record_sync::engine::rules::{ConflictPolicy, EndFacts, LinkFacts, LinkRules, RulesFile};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use super::line::Line;
use super::measure::{Run, median};
use super::{Size, data};

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn rules(filter: &str) -> LinkRules {
    let end = |system: &str, stream: &str| EndFacts {
        system: system.into(),
        connector: "sqlite".into(),
        stream: stream.into(),
        key: vec!["record_id".into()],
        fields: data::COLUMNS.iter().map(|name| (*name).to_owned()).collect(),
        open: false,
        walks: Vec::new(),
        barred: Default::default(),
    };
    let facts = LinkFacts {
        link: "bench".into(),
        a: end("left", "users"),
        b: end("right", "users"),
        a_to_b: true,
        b_to_a: true,
        first_contact: ConflictPolicy::Newest,
    };
    let fields: Vec<String> = data::COLUMNS.iter().map(|name| format!("\"{name}\": \"{name}\"")).collect();
    let text = format!("{{\"links\": {{\"bench\": {{\"fields\": {{{}}}{filter}}}}}}}", fields.join(", "));
    RulesFile::parse(&text).and_then(|file| file.compile(1, &facts)).expect("rules")
}

/// Records as a source shows them, under one schema.
fn records(count: usize) -> Vec<Record> {
    let schema = Schema::new(data::COLUMNS);
    (1..=count as i64)
        .map(|id| {
            let row = data::person(id);
            let score = record_sync::engine::record::Number::from_f64(row.6).expect("a number");
            let texts = [&row.1, &row.2, &row.3, &row.4, &row.5].map(Value::text);
            let values = std::iter::once(Value::Int(id)).chain(texts).chain([score, row.7.into()]);
            Record { schema: schema.clone(), values: values.collect(), meta: Default::default() }
        })
        .collect()
}

fn project(rules: &LinkRules, records: Vec<Record>) -> Vec<Projected> {
    let mut projector = Projector::new(rules, Side::A);
    records.into_iter().map(|record| projector.project(record).expect("a key")).collect()
}

/// Plans records of which nothing is known: observed, decided, marked.
fn plan(rules: &LinkRules, sights: Vec<Projected>) -> Vec<Pair> {
    sights.into_iter().map(|sight| planned(rules, Pair::new(sight.key.clone()), Side::A, sight)).collect()
}

fn planned(rules: &LinkRules, mut pair: Pair, side: Side, sight: Projected) -> Pair {
    observe(&mut pair, side, sight, 1, NOW);
    let decision = reconcile(&mut pair, rules, Occasion::Change);
    mark(&mut pair, &decision, rules, NOW);
    black_box(decision);
    pair
}

/// The pairs after their first delivery.
fn delivered_pairs(rules: &LinkRules, records: &[Record]) -> Vec<Pair> {
    let mut pairs = plan(rules, project(rules, records.to_vec()));
    for pair in &mut pairs {
        let action = reconcile(pair, rules, Occasion::Change).a_to_b;
        let direction = Direction::AToB;
        let made_from = MadeFrom::Now;
        let written = Written {
            direction,
            action,
            made_from,
            id: None,
            revision: None,
            stored: None,
            compared: true,
            epoch: 1,
            now: NOW,
        };
        delivered(pair, rules, written);
    }
    pairs
}

fn edited(mut records: Vec<Record>, place: usize, text: &str) -> Vec<Record> {
    for record in &mut records {
        if let Some(value) = record.values.get_mut(place) {
            *value = Value::text(text);
        }
    }
    records
}

/// Runs the workload.
pub fn measure(size: &Size, tell: &mut dyn FnMut(Line)) {
    let count = size.of("PLANNED", 100_000);
    let (flat, filtered) =
        (rules(""), rules(", \"a_to_b\": {\"when\": \"status != 'deleted' && score >= 0.0\"}"));
    let records = records(count);
    let pairs = delivered_pairs(&flat, &records);
    let sights = |records: &[Record]| project(&flat, records.to_vec());
    let way = flat.way(Direction::AToB).expect("a way");

    let mut stage = |what: &str, run: &mut dyn FnMut() -> (Run, f64)| {
        let (mut runs, mut allocations) = (Vec::new(), 0.0);
        for _ in 0..size.rounds {
            let (run, each) = run();
            runs.push(run);
            allocations = each;
        }
        let sync = median(&mut runs);
        let each = sync.elapsed.as_secs_f64() * 1e9 / count as f64;
        let more = format!("{each:.0} ns and {allocations:.1} allocations a record");
        tell(Line { name: "W11", what: what.to_owned(), count, sync, bare: None, more });
    };
    let key = "identity: key and image";
    stage(key, &mut || timed(records.clone(), count, |records| project(&flat, records)));
    let images = sights(&records);
    stage("map", &mut || {
        timed(images.clone(), count, |sights| {
            sights.iter().for_each(|sight| drop(black_box(way.map(&sight.image))));
            sights
        })
    });
    stage("data hash", &mut || {
        timed(images.clone(), count, |sights| {
            sights.iter().for_each(|sight| drop(black_box(sight.image.data_hash())));
            sights
        })
    });
    stage("plan a new record", &mut || timed(images.clone(), count, |sights| plan(&flat, sights)));
    stage("plan a new record, with a filter", &mut || {
        timed(images.clone(), count, |sights| plan(&filtered, sights))
    });
    let changed = sights(&edited(records.clone(), 4, "Elsewhere"));
    let again = |rules: &LinkRules, (pairs, sights): (Vec<Pair>, Vec<Projected>)| -> Vec<Pair> {
        pairs.into_iter().zip(sights).map(|(pair, sight)| planned(rules, pair, Side::A, sight)).collect()
    };
    stage("delta: one field of a known record", &mut || {
        timed((pairs.clone(), changed.clone()), count, |input| again(&flat, input))
    });
    let mut moved = pairs.clone();
    for (pair, sight) in moved.iter_mut().zip(sights(&edited(records.clone(), 1, "Somebody"))) {
        observe(pair, Side::B, sight, 1, NOW);
    }
    stage("merge: another field on either side", &mut || {
        timed((moved.clone(), changed.clone()), count, |input| again(&flat, input))
    });
}

/// Does the work; gives its time, and allocations for each record. What it is given and what it gives back is made and
/// dropped outside.
fn timed<I, O>(input: I, count: usize, work: impl FnOnce(I) -> O) -> (Run, f64) {
    let region = Region::new(ALLOCATOR);
    let begun = Instant::now();
    let output = work(input);
    let elapsed = begun.elapsed();
    let allocations = region.change().allocations;
    drop(black_box(output));
    (Run::of(elapsed), allocations as f64 / count as f64)
}
