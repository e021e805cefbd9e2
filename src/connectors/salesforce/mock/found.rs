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
    let fewest = lists.iter().map(|(field, texts)| ids(table, stream, field, texts)).min_by_key(Vec::len);
    if let Some(ids) = fewest.filter(|ids| ids.len().saturating_mul(ONE_IN) <= table.count(stream)) {
        return Candidates::These(ids);
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
    table.keep_order(stream, field, Rank::Bytes, move |row: &Object| {
        let text = row.text(field)?;
        parse_datetime(text).filter(|at| format_datetime(*at) == text).map(|at| at.0)
    });
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
