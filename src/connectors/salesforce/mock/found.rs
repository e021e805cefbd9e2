//! Which rows a query finds: by an index or along an order where there is one that fits, else among all.

use super::objects::ObjectType;
use super::rows::is_deleted;
use super::soql::{Plan, Query, STAMP, Way};
use crate::connectors::mock::{Id, Object, Rank, Table};
use crate::connectors::salesforce::wire::{format_datetime, parse_datetime};
use crate::engine::record::Value;

/// An index helps where it leaves one row in so many, or fewer.
const ONE_IN: usize = 8;

/// The rows to look at.
pub enum Candidates {
    All,
    /// In the order of their ids.
    These(Vec<Id>),
    /// Those from an id on.
    ById(String),
    /// Those from a place on, in the order of (stamp, id), and before a moment.
    ByStamp(i64, String, i64),
}

/// Says which rows a query has to look at; makes what it takes to find them soon.
pub fn candidates(table: &mut Table, object: &ObjectType, plan: &Plan) -> Candidates {
    let stream = object.name.as_str();
    let lists = plan.lists();
    let mut count = |field: &str, texts: &[&str]| match field {
        "Id" => texts.len(),
        _ => texts.iter().map(|text| table.how_many(stream, field, text)).sum::<usize>(),
    };
    // An index of what all rows share is of no use.
    let telling = lists.iter().filter(|(field, _)| *field != "IsDeleted");
    let counted = telling.map(|(field, texts)| (count(field, texts), field, texts));
    let fewest = counted.min_by_key(|(count, ..)| *count);
    if let Some((_, field, texts)) =
        fewest.filter(|(count, ..)| count.saturating_mul(ONE_IN) <= table.count(stream))
    {
        return Candidates::These(ids(table, stream, field, texts));
    }
    let stretch = plan.stretch();
    let moment = |text: &str| parse_datetime(text).map(|at| at.0);
    match plan.way() {
        Some(Way::ById) => Candidates::ById(stretch.id.to_owned()),
        Some(Way::ByStamp) => {
            keep_order(table, stream, STAMP);
            if table.order(stream, STAMP).is_none_or(|order| !order.is_whole()) {
                return Candidates::All;
            }
            let (stamp, id) = stretch.first();
            let from = moment(stamp).unwrap_or(i64::MIN);
            Candidates::ByStamp(from, id.to_owned(), stretch.until.and_then(moment).unwrap_or(i64::MAX))
        }
        None => Candidates::All,
    }
}

fn ids(table: &mut Table, stream: &str, field: &str, texts: &[&str]) -> Vec<Id> {
    let mut ids: Vec<Id> = match field {
        "Id" => texts.iter().filter_map(|id| table.entry(stream, id)).map(|(id, _)| Id::clone(id)).collect(),
        _ => texts.iter().flat_map(|text| table.find(stream, field, text)).collect(),
    };
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Keeps rows in the order of a field that holds moments. The stored form sorts as the moments do; a row whose
/// text is in any other form has no place.
pub fn keep_order(table: &mut Table, stream: &str, field: &'static str) {
    table.keep_order(stream, field, Rank::Bytes, move |row| moment(row, field));
}

/// The order of what lies in the bin.
pub const BINNED: &str = "binned";

/// Keeps the rows of the bin in the order in which they came there.
pub fn keep_binned(table: &mut Table, stream: &str) {
    let binned_at = |row: &Object| is_deleted(row).then(|| moment(row, STAMP))?;
    table.keep_order(stream, BINNED, Rank::Bytes, binned_at);
}

fn moment(row: &Object, field: &str) -> Option<i64> {
    let text = row.text(field)?;
    parse_datetime(text).filter(|at| format_datetime(*at) == text).map(|at| at.0)
}

/// Finds the rows of a query, in its order and within its limit.
pub fn found_rows<'t>(
    table: &'t Table,
    object: &'t ObjectType,
    plan: &Plan,
    query: &Query,
    with_deleted: bool,
    candidates: &'t Candidates,
) -> Vec<(&'t Id, &'t Object)> {
    let with_deleted = with_deleted || query.all_rows;
    let passes = |row: &Object| (with_deleted || !is_deleted(row)) && plan.matches(row, table);
    sifted(table, &object.name, plan, query, candidates, passes)
}

fn sifted<'t>(
    table: &'t Table,
    stream: &'t str,
    plan: &Plan,
    query: &Query,
    candidates: &'t Candidates,
    passes: impl Fn(&Object) -> bool,
) -> Vec<(&'t Id, &'t Object)> {
    let wanted = query.limit.unwrap_or(usize::MAX).saturating_add(query.offset);
    let rows = looked_at(table, stream, candidates).filter(|(_, row)| passes(row));
    let in_order = matches!(candidates, Candidates::ById(_) | Candidates::ByStamp(..));
    if in_order || !plan.is_ordered() {
        return rows.take(wanted).skip(query.offset).collect();
    }
    // Rows that are the same to the order stay in that of their ids.
    let keyed = rows.enumerate().map(|(at, row)| (plan.keys(row.1, table), at, row));
    let mut keyed: Vec<(Vec<Value>, usize, _)> = keyed.collect();
    let compare = |left: &(Vec<Value>, usize, _), right: &(Vec<Value>, usize, _)| {
        plan.compare(&left.0, &right.0).then(left.1.cmp(&right.1))
    };
    if wanted > 0 && wanted < keyed.len() {
        keyed.select_nth_unstable_by(wanted - 1, compare);
        keyed.truncate(wanted);
    }
    keyed.sort_unstable_by(compare);
    keyed.into_iter().take(wanted).skip(query.offset).map(|(_, _, row)| row).collect()
}

type Rows<'t> = Box<dyn Iterator<Item = (&'t Id, &'t Object)> + 't>;

fn looked_at<'t>(table: &'t Table, stream: &'t str, candidates: &'t Candidates) -> Rows<'t> {
    match candidates {
        Candidates::All => Box::new(table.rows(stream)),
        Candidates::These(ids) => Box::new(ids.iter().filter_map(move |id| table.entry(stream, id))),
        Candidates::ById(from) => Box::new(table.rows_from(stream, from)),
        Candidates::ByStamp(from, id, until) => {
            let order = table.order(stream, STAMP).into_iter();
            let places = order.flat_map(move |order| order.from(*from, id));
            let places = places.take_while(move |(stamp, _)| stamp < until);
            Box::new(places.filter_map(move |(_, id)| table.entry(stream, id)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::super::soql::{self, plan};
    use super::*;
    use crate::connectors::mock::object_from_json;
    use crate::engine::record::Timestamp;

    const NOW: Timestamp = Timestamp(1_718_452_800_000);

    /// Draws numbers, always the same ones.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    fn stamp(number: u64) -> String {
        format_datetime(Timestamp(NOW.0 + 1_000 * number.cast_signed()))
    }

    fn id(number: u64) -> String {
        super::super::ids::make("003", number)
    }

    /// Changes rows: few stamps, so that many tie; some in the bin, some without a field, texts in several cases.
    fn live(table: &mut Table, dice: &mut Dice, rows: u64, changes: u64) {
        for _ in 0..changes {
            let number = dice.below(rows);
            if dice.below(12) == 0 {
                table.remove("Contact", &id(number));
                continue;
            }
            let key = format!("{}{}", ["key", "KEY", "Key"][dice.below(3) as usize], dice.below(rows));
            let name = [r#""Ada""#, r#""ada""#, r#""Bob""#, r#""Ωmega""#, "null", "7", "7.0", "true"];
            let row = format!(
                r#"{{"Id": "{}", "SystemModstamp": "{}", "IsDeleted": {}, "Key__c": "{key}", "LastName": {}, "n": {}}}"#,
                id(number),
                stamp(dice.below(9)),
                dice.below(5) == 0,
                name[dice.below(8) as usize],
                ["1", "1.0", "null", "\"1\"", "20", "3"][dice.below(6) as usize],
            );
            table.put("Contact", &id(number), object_from_json(&row).expect("a row"));
        }
    }

    fn ask(
        table: &mut Table,
        text: &str,
        with_deleted: bool,
    ) -> (&'static str, Vec<String>, Vec<String>, usize) {
        let object = ObjectType::find(table, false, "Contact").expect("Contact");
        let query = soql::parse(text).expect(text);
        let plan = plan(&query, &object, table, NOW).expect(text);
        let narrowed = candidates(table, &object, &plan);
        let kind = match &narrowed {
            Candidates::All => "all",
            Candidates::These(_) => "these",
            Candidates::ById(_) => "by id",
            Candidates::ByStamp(..) => "by stamp",
        };
        let ids = |candidates: &Candidates| -> Vec<String> {
            let found = found_rows(table, &object, &plan, &query, with_deleted, candidates);
            found.iter().map(|(id, _)| id.to_string()).collect()
        };
        let examined = Cell::new(0);
        let passes = |row: &Object| {
            examined.set(examined.get() + 1);
            (with_deleted || !is_deleted(row)) && plan.matches(row, table)
        };
        sifted(table, "Contact", &plan, &query, &narrowed, passes);
        (kind, ids(&narrowed), ids(&Candidates::All), examined.get())
    }

    #[test]
    fn a_narrowed_query_finds_just_what_a_scan_finds() {
        let mut kinds = BTreeSet::new();
        for seed in 0..12 {
            let (mut table, mut dice) = (Table::default(), Dice(seed));
            for round in 0..4 {
                live(&mut table, &mut dice, 120, 200);
                let (at, later, row) = (stamp(dice.below(9)), stamp(dice.below(9)), id(dice.below(120)));
                let key = |dice: &mut Dice| {
                    format!("'{}{}'", ["key", "KEY"][dice.below(2) as usize], dice.below(120))
                };
                let keys: Vec<String> = (0..4).map(|_| key(&mut dice)).collect();
                let (one, few) = (&keys[0], keys.join(","));
                let conditions = [
                    String::new(),
                    format!("Key__c = {one}"),
                    format!("Key__c IN ({few})"),
                    format!("Key__c IN ({few}, null)"),
                    format!("Key__c NOT IN ({few})"),
                    format!("NOT Key__c = {one}"),
                    format!("Key__c IN ({few}) AND LastName = 'ADA'"),
                    format!("Key__c = {one} OR SystemModstamp > {at}"),
                    format!("Id = '{row}'"),
                    format!("Id IN ('{row}', '{}') AND SystemModstamp >= {at}", id(3)),
                    format!("Id > '{row}'"),
                    format!("Id > '{row}' OR Key__c = {one}"),
                    "LastName = 'ada'".to_owned(),
                    "LastName = '7'".to_owned(),
                    "LastName IN ('7', 'TRUE', 'ωMEGA')".to_owned(),
                    "LastName = null".to_owned(),
                    "n = 1".to_owned(),
                    "n IN (1, 3)".to_owned(),
                    format!("SystemModstamp >= {at}"),
                    format!("SystemModstamp > {at} AND SystemModstamp <= {later}"),
                    format!("SystemModstamp >= {at} AND SystemModstamp < {later} AND Id >= '{row}'"),
                    format!("SystemModstamp = {at}"),
                    format!("SystemModstamp != {at}"),
                    format!("NOT SystemModstamp < {at}"),
                    format!("SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{row}')"),
                    format!(
                        "(SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{row}')) AND SystemModstamp < {later}"
                    ),
                    format!("SystemModstamp < {at} OR SystemModstamp = {later}"),
                    "SystemModstamp >= TODAY AND IsDeleted = false".to_owned(),
                    "SystemModstamp > null".to_owned(),
                ];
                let orders = [
                    "",
                    " ORDER BY SystemModstamp, Id",
                    " ORDER BY SystemModstamp ASC NULLS LAST, Id ASC, LastName DESC",
                    " ORDER BY SystemModstamp",
                    " ORDER BY SystemModstamp DESC, Id",
                    " ORDER BY SystemModstamp, LastName, Id",
                    " ORDER BY Id",
                    " ORDER BY Id DESC",
                    " ORDER BY LastName, n DESC",
                ];
                for condition in &conditions {
                    let filter =
                        if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") };
                    for order in orders {
                        let limit =
                            ["", " LIMIT 0", " LIMIT 7", " LIMIT 20 OFFSET 5"][dice.below(4) as usize];
                        let text = format!("SELECT Id FROM Contact{filter}{order}{limit}");
                        let (kind, narrowed, scanned, _) = ask(&mut table, &text, dice.below(2) == 0);
                        assert_eq!(narrowed, scanned, "seed {seed}, round {round}, {kind}: {text}");
                        kinds.insert(kind);
                    }
                }
            }
        }
        assert_eq!(kinds, BTreeSet::from(["all", "these", "by id", "by stamp"]), "every way is tried");
    }

    #[test]
    fn a_page_looks_at_few_rows() {
        let mut table = Table::default();
        for number in 0..5_000 {
            // A hundred rows share a stamp, one in ten lies in the bin.
            let row = format!(
                r#"{{"Id": "{}", "SystemModstamp": "{}", "IsDeleted": {}, "Key__c": "K{number}"}}"#,
                id(number),
                stamp(number / 100),
                number % 10 == 0,
            );
            table.put("Contact", &id(number), object_from_json(&row).expect("a row"));
        }
        let (at, row) = (stamp(20), id(2_050));
        // (query, rows found, rows looked at, why)
        let cases = [
            ("ORDER BY SystemModstamp, Id LIMIT 90".to_owned(), 90, 100, "the first page"),
            (
                format!("WHERE SystemModstamp >= {at} ORDER BY SystemModstamp, Id LIMIT 90"),
                90,
                100,
                "from a moment",
            ),
            (
                format!(
                    "WHERE SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{row}') ORDER BY SystemModstamp, Id LIMIT 90"
                ),
                90,
                101,
                "behind a row, within its stamp",
            ),
            (
                format!(
                    "WHERE SystemModstamp >= {at} AND SystemModstamp < {} ORDER BY SystemModstamp, Id",
                    stamp(22)
                ),
                180,
                200,
                "up to a moment",
            ),
            (format!("WHERE Id > '{row}' ORDER BY Id LIMIT 9"), 9, 10, "by id"),
            ("WHERE Key__c IN ('k1', 'K2', 'none')".to_owned(), 2, 2, "by a text"),
            (format!("WHERE Id IN ('{row}', '{}')", id(1)), 1, 2, "by ids; one lies in the bin"),
            (
                "WHERE Key__c = 'k5' AND SystemModstamp >= TODAY ORDER BY SystemModstamp, Id".to_owned(),
                1,
                1,
                "both",
            ),
            ("WHERE Key__c LIKE 'K1%' LIMIT 5".to_owned(), 5, 16, "a pattern stops at the limit, too"),
        ];
        for (rest, found, looked_at, why) in cases {
            let (kind, narrowed, scanned, examined) =
                ask(&mut table, &format!("SELECT Id FROM Contact {rest}"), false);
            assert_eq!(narrowed, scanned, "{why}");
            assert_eq!(narrowed.len(), found, "{why}");
            assert!(examined <= looked_at, "{why}: {kind} looked at {examined}");
        }
    }
}
