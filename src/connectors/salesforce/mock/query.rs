//! Queries and the pages behind the first one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::errors::ApiError;
use super::found::{candidates, found_rows};
use super::objects::{Kind, ObjectType};
use super::soql::{self, Column, Select, push_columns};
use super::{Visit, lock};
use crate::connectors::mock::{Id, Object, Reply};
use crate::engine::record::{Timestamp, Value, write_json};

/// Milliseconds that a locator lives.
const LOCATOR_MS: i64 = 2 * 24 * 60 * 60 * 1000;
/// Locators that live at once; the oldest goes first.
const LOCATORS_MAX: usize = 100;
const PAGE_DEFAULT: usize = 2_000;
const PAGE_MIN: usize = 200;

/// The open results of queries: ids as they were found.
#[derive(Default)]
pub struct Locators {
    open: BTreeMap<String, Arc<Found>>,
    serial: u64,
}

struct Found {
    object: String,
    columns: Vec<Column>,
    ids: Vec<Id>,
    page: usize,
    at: Timestamp,
}

impl Visit<'_> {
    /// Answers `GET /query?q=` and `GET /queryAll?q=`.
    pub(super) fn query(&mut self, with_deleted: bool) -> Result<Reply, ApiError> {
        let text = self.request.query_value("q").ok_or_else(soql_missing)?;
        let query = soql::parse(&text)?;
        let object = self.object(&query.from).ok_or_else(|| ApiError::unknown_object(&query.from))?;
        let plan = soql::plan(&query, &object, self.table, self.now)?;
        if self.request.query_value("columns").as_deref() == Some("true") {
            return Ok(described(&object, &plan.columns));
        }
        let candidates = candidates(self.table, &object, &plan);
        let found = match self.luck.empty_pages() {
            true => Vec::new(),
            false => found_rows(self.table, &object, &plan, &query, with_deleted, &candidates),
        };
        if let (Select::CountOf(_, name), Some(column)) = (&query.select, plan.columns.first()) {
            let stands = |row: &Object| column.value(row, self.table) != Value::Null;
            let count = found.iter().filter(|(_, row)| stands(row)).count();
            let row = json!({ "attributes": { "type": "AggregateResult" }, name: count });
            let answer = json!({ "totalSize": 1, "done": true, "records": [row] });
            return Ok(Reply::json(200, answer.to_string()));
        }
        if query.select == Select::Count {
            let answer = json!({ "totalSize": found.len(), "done": true, "records": [] });
            return Ok(Reply::json(200, answer.to_string()));
        }
        let ids: Vec<Id> = found.into_iter().map(|(id, _)| Id::clone(id)).collect();
        let found =
            Found { object: object.name, columns: plan.columns, ids, page: self.page_size(), at: self.now };
        Ok(self.page(&Arc::new(found), None, 0))
    }

    /// Answers `GET /query/{locator}`.
    pub(super) fn query_more(&mut self, locator: &str) -> Result<Reply, ApiError> {
        let foreign = || ApiError::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
        let (name, offset) = locator.split_once('-').ok_or_else(foreign)?;
        let offset: usize = offset.parse().map_err(|_| foreign())?;
        let found = lock(&self.org.locators).open.get(name).cloned();
        let found = found.filter(|found| self.now.0.saturating_sub(found.at.0) < LOCATOR_MS);
        let found = found.filter(|found| offset < found.ids.len()).ok_or_else(foreign)?;
        Ok(self.page(&found, Some(name), offset))
    }

    fn page_size(&self) -> usize {
        let options = self.request.header("sforce-query-options").unwrap_or_default();
        let asked = options.split(';').find_map(|option| {
            let (name, value) = option.split_once('=')?;
            name.trim().eq_ignore_ascii_case("batchSize").then(|| value.trim().parse().ok())?
        });
        asked.unwrap_or(PAGE_DEFAULT).clamp(PAGE_MIN, PAGE_DEFAULT)
    }

    /// Writes one page; opens a locator where there is more and none is open yet.
    fn page(&mut self, found: &Arc<Found>, locator: Option<&str>, offset: usize) -> Reply {
        let end = offset.saturating_add(found.page).min(found.ids.len());
        let root = self.root();
        let mut body = format!(r#"{{"totalSize":{},"done":{}"#, found.ids.len(), end == found.ids.len());
        if end < found.ids.len() {
            let name = match locator {
                Some(name) => name.to_owned(),
                None => lock(&self.org.locators).open(Arc::clone(found)),
            };
            body.push_str(&format!(r#","nextRecordsUrl":"{root}/query/{name}-{end}""#));
        }
        body.push_str(r#","records":["#);
        let ids = found.ids.get(offset..end).unwrap_or_default();
        // A row that was removed for good since the query is left out.
        let rows = ids.iter().filter_map(|id| self.table.get(&found.object, id).map(|row| (id, row)));
        for (at, (id, row)) in rows.enumerate() {
            if at > 0 {
                body.push(',');
            }
            push_columns(&mut body, &root, (&found.object, id, row), &found.columns, self.table);
        }
        body.push_str("]}");
        Reply::json(200, body)
    }
}

impl Locators {
    fn open(&mut self, found: Arc<Found>) -> String {
        self.serial += 1;
        let name = super::ids::make("01g", self.serial);
        if self.open.len() >= LOCATORS_MAX {
            // Names sort in the order in which they were made.
            self.open.pop_first();
        }
        self.open.insert(name.clone(), found);
        name
    }
}

/// Writes a row as the API does, with its attributes; what it lacks is null.
pub(super) fn push_row(
    out: &mut String,
    root: &str,
    object: &str,
    id: &str,
    row: &Object,
    columns: &[String],
) {
    out.push_str(&format!(r#"{{"attributes":{{"type":"{object}","url":"{root}/sobjects/{object}/{id}"}}"#));
    for column in columns {
        out.push_str(&format!(r#","{column}":"#));
        write_json(&row.get(column).unwrap_or(Value::Null), out);
    }
    out.push('}');
}

/// Tells of the columns of a query instead of its rows.
fn described(object: &ObjectType, columns: &[Column]) -> Reply {
    let shown = columns.iter().map(|column| {
        let kind = column.field.as_ref().map(|field| field.kind);
        let number = matches!(kind, Some(Kind::Int | Kind::Double | Kind::Currency));
        let boolean = kind == Some(Kind::Boolean);
        let writable = column.field.as_ref().is_none_or(|field| !field.flags.read_only);
        json!({
            "columnName": column.label(), "displayName": column.label(), "aggregate": false,
            "booleanType": boolean, "numberType": number, "textType": !number && !boolean,
            "custom": column.name.ends_with("__c"), "foreignKeyName": null, "joinColumns": [],
            "insertable": writable, "updatable": writable,
        })
    });
    let answer = json!({
        "columnMetadata": shown.collect::<Vec<_>>(), "entityName": object.name, "groupBy": false,
        "idSelected": columns.iter().any(|column| column.label() == "Id"), "keyPrefix": object.prefix,
    });
    Reply::json(200, answer.to_string())
}

/// Names the columns that a read without a list gives.
pub(super) fn all_columns(object: &ObjectType) -> Vec<String> {
    object.fields.iter().map(|field| field.name.clone()).collect()
}

fn soql_missing() -> ApiError {
    ApiError::new(400, "MALFORMED_QUERY", "A query string has to be specified")
}
