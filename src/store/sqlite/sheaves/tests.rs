use std::collections::BTreeMap;

use super::super::schema;
use super::*;

const LINK: LinkId = LinkId(1);

fn database() -> Connection {
    let mut db = Connection::open_in_memory().expect("a database");
    schema::migrate(&mut db, 0).expect("tables");
    db
}

/// A small xorshift: the same seed, the same history.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Bytes of a pair that is told by its version alone, and takes so many of them.
fn bytes(version: usize, length: usize) -> Vec<u8> {
    let filling = vec![0; length];
    let mut bytes = Vec::new();
    Stored { version: version as u32, metas: [Some(&filling), None], ..Stored::default() }.put(&mut bytes);
    bytes
}

/// The first key of each sheaf, and the keys in it.
fn sheaves(db: &Connection) -> Vec<(Vec<u8>, Vec<Vec<u8>>, usize)> {
    let mut select =
        db.prepare("SELECT first, body FROM sheaves WHERE link = 1 ORDER BY first").expect("a query");
    let rows = select
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))
        .expect("rows")
        .collect::<Result<Vec<(Vec<u8>, Vec<u8>)>, _>>()
        .expect("rows");
    let keys = |body: &[u8]| sheaf::entries(body).map(|entry| entry.expect("whole").key.to_vec()).collect();
    rows.into_iter().map(|(first, body)| (first, keys(&body), body.len())).collect()
}

fn check(db: &Connection, model: &BTreeMap<Vec<u8>, Vec<u8>>, why: &str) {
    let sheaves = sheaves(db);
    for (place, (first, keys, size)) in sheaves.iter().enumerate() {
        assert_eq!(first.is_empty(), place == 0, "{why}: the lowest begins before all keys, and it alone");
        assert!(place == 0 || !keys.is_empty(), "{why}: an empty one is gone");
        assert!(*size <= sheaf::BYTES_MAX || keys.len() == 1, "{why}: {size} bytes of {} keys", keys.len());
        let until = sheaves.get(place + 1).map(|(next, _, _)| next);
        for key in keys {
            assert!(key >= first && until.is_none_or(|until| key < until), "{why}: {key:?} in its place");
        }
    }
    let stored: Vec<&Vec<u8>> = sheaves.iter().flat_map(|(_, keys, _)| keys).collect();
    assert_eq!(stored, model.keys().collect::<Vec<_>>(), "{why}: all of them, in order");
    let mut finding = Finding::new(db).expect("a query");
    for (key, pair) in model {
        let found = finding.at(LINK, &Key::from_bytes(key), |stored| {
            let mut bytes = Vec::new();
            stored.put(&mut bytes);
            Ok(bytes)
        });
        assert_eq!(found.expect("an answer").as_ref(), Some(pair), "{why}: {key:?}");
    }
}

#[test]
fn random_changes_agree_with_a_map() {
    for seed in 1..=40u64 {
        let db = database();
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let (keys, longest) = (50 + dice.below(800), 1 + dice.below(900));
        let has_giants = dice.below(3) == 0;
        for round in 0..12 {
            let mut sheaves = Sheaves::new(&db, LINK);
            let (from, is_falling) = (dice.below(keys), dice.below(4) == 0);
            let is_sweeping = dice.below(4) == 0;
            for step in 0..dice.below(200) {
                let number = match dice.below(3) {
                    0 => dice.below(keys),
                    _ if is_falling => from.saturating_sub(step),
                    _ => (from + step) % keys,
                };
                let key = format!("{number:05}").into_bytes();
                let standing = sheaves.seek(&key).expect("sought").map(<[u8]>::to_vec);
                assert_eq!(standing, model.get(&key).cloned(), "seed {seed}, round {round}, step {step}");
                if is_sweeping && standing.is_some() {
                    sheaves.remove().expect("removed");
                    model.remove(&key);
                } else {
                    let is_giant = has_giants && dice.below(30) == 0;
                    let length = if is_giant { 5_000 + dice.below(20_000) } else { dice.below(longest) };
                    let pair = bytes(step, length);
                    sheaves.put(&key, &pair).expect("put");
                    model.insert(key, pair);
                }
            }
            sheaves.flush().expect("stored");
            check(&db, &model, &format!("seed {seed}, round {round}"));
        }
    }
}

/// As few rows as that takes, whether keys rise, as scans show them, or fall, also behind a full sheaf.
#[test]
fn keys_in_order_fill_their_sheaves() {
    let rising: Vec<usize> = (0..1000).collect();
    let falling: Vec<usize> = rising.iter().rev().copied().collect();
    // 22 of them fill a sheaf.
    let falling_behind: Vec<usize> = (0..198).chain((198..1000).rev()).collect();
    for (numbers, why) in
        [(rising, "rising"), (falling, "falling"), (falling_behind, "falling behind others")]
    {
        let db = database();
        let mut model = BTreeMap::new();
        let mut open = Sheaves::new(&db, LINK);
        for (step, number) in numbers.into_iter().enumerate() {
            let (key, pair) = (format!("{number:05}").into_bytes(), bytes(1, 150));
            open.seek(&key).expect("sought");
            open.put(&key, &pair).expect("put");
            model.insert(key, pair);
            // Each page is a transaction of its own.
            if step % 100 == 99 {
                open.flush().expect("stored");
            }
        }
        check(&db, &model, why);
        let count = sheaves(&db).len();
        let least =
            model.iter().map(|(key, pair)| key.len() + pair.len() + 3).sum::<usize>() / sheaf::BYTES_MAX;
        assert!(count <= least + least / 8, "{count} sheaves, {least} would do: {why}");
    }
}

#[test]
fn a_walk_begins_behind_any_key_and_ends_when_told() {
    let db = database();
    let mut sheaves = Sheaves::new(&db, LINK);
    for number in 0..300 {
        let key = format!("{:05}", number * 2).into_bytes();
        sheaves.seek(&key).expect("sought");
        sheaves.put(&key, &bytes(number, 100)).expect("put");
    }
    sheaves.flush().expect("stored");
    for after in [None, Some(0), Some(77), Some(78), Some(597), Some(598), Some(9999)] {
        let behind = after.map(|after: usize| Key::from_bytes(format!("{after:05}").as_bytes()));
        let mut versions = Vec::new();
        each(&db, LINK, behind.as_ref(), |_, stored| {
            versions.push(stored.version as usize);
            Ok(versions.len() < 40)
        })
        .expect("walked");
        let wanted: Vec<usize> =
            (0..300).filter(|number| after.is_none_or(|after| number * 2 > after)).take(40).collect();
        assert_eq!(versions, wanted, "after {after:?}");
    }
    each(&db, LinkId(2), None, |_, _| panic!("another link has none")).expect("walked");
}
