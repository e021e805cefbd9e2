//! The work of an ingest job: rows of CSV become saves, batch by batch.

use std::collections::HashSet;
use std::ops::Range;

use csv::ByteRecord;

use super::{BATCH_ROWS, BATCHES_MAX, Job, State, Work};
use crate::connectors::mock::Object;
use crate::connectors::salesforce::mock::errors::ApiError;
use crate::connectors::salesforce::mock::objects::{Kind, ObjectType, is_name};
use crate::connectors::salesforce::mock::relations::by_name;
use crate::connectors::salesforce::mock::rows::{self, Actor, Saved};
use crate::connectors::salesforce::mock::{Visit, bin, ids, lock};
use crate::engine::record::{Number, Value};

/// Rows that the real service saves together; within them an external id may stand only once.
const CHUNK_ROWS: usize = 200;

/// What a job was given and what became of it.
#[derive(Default)]
pub(super) struct Load {
    pub external_id: Option<String>,
    pub data: Option<Vec<u8>>,
    /// The header as it was sent; empty until the job begins.
    pub columns: Vec<String>,
    /// Where the next row begins.
    pub at: usize,
    pub done: Vec<Done>,
}

/// A row that was worked on.
pub(super) struct Done {
    /// Where the row stands in the upload.
    pub place: Range<usize>,
    pub outcome: Result<Saved, Refused>,
}

/// Why a row was refused.
pub(super) struct Refused {
    /// The id that the row named.
    pub id: String,
    pub error: String,
}

impl Load {
    pub fn new(external_id: Option<String>) -> Self {
        Self { external_id, ..Self::default() }
    }

    pub fn failed(&self) -> usize {
        self.done.iter().filter(|done| done.outcome.is_err()).count()
    }

    pub fn data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }
}

/// A row on its way into the org.
struct Row {
    incoming: Object,
    id: Option<String>,
    key: Option<Value>,
}

impl Visit<'_> {
    /// Reads the header; what is wrong with it is wrong with the whole job.
    pub(super) fn begin_load(&mut self, job: &mut Job) {
        let (form, operation) = (job.form, job.operation);
        let object = self.object(&job.object);
        let Work::Load(load) = &mut job.work else { return };
        let begun = form.check(load.data()).and_then(|()| {
            let mut reader = form.reader(load.data());
            let mut header = ByteRecord::new();
            reader.read_byte_record(&mut header).map_err(|error| format!("InvalidBatch : {error}"))?;
            let at = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
            let columns: Vec<String> =
                header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            let object = object.ok_or_else(|| "InvalidJob : the object is gone".to_owned())?;
            check_header(&columns, &object, operation)?;
            Ok((columns, at))
        });
        match begun {
            Ok((columns, at)) => (load.columns, load.at) = (columns, at),
            Err(message) => job.fail(message),
        }
    }

    /// Works on one batch; the last one ends the job.
    pub(super) fn go_on_loading(&mut self, job: &mut Job) {
        {
            let mut jobs = lock(&self.org.jobs);
            if jobs.batches >= BATCHES_MAX {
                return job.fail("ExceededQuota : ApiBatchItems Limit exceeded.".to_owned());
            }
            jobs.batches += 1;
        }
        let Some(mut object) = self.object(&job.object) else { return };
        let (form, operation) = (job.form, job.operation);
        let Work::Load(load) = &mut job.work else { return };
        // Taken out while its rows are worked on: their results go into the same load.
        let data = load.data.take().unwrap_or_default();
        let mut reader = form.reader(data.get(load.at..).unwrap_or_default());
        let mut record = ByteRecord::new();
        let mut seen = HashSet::new();
        let mut count = 0;
        let ended = loop {
            if count == BATCH_ROWS {
                break false;
            }
            if !matches!(reader.read_byte_record(&mut record), Ok(true)) {
                break true;
            }
            if count % CHUNK_ROWS == 0 {
                seen.clear();
            }
            count += 1;
            let offset = |position: u64| load.at + usize::try_from(position).unwrap_or_default();
            let begins = record.position().map_or(0, csv::Position::byte);
            let place = offset(begins)..offset(reader.position().byte());
            let row = row(load, &object, operation, &record);
            let named = row.id.clone().unwrap_or_default();
            let outcome = self.take_row(&mut object, load, operation, row, &mut seen);
            let outcome = outcome.map_err(|error| Refused { id: named, error: written(&error, load) });
            load.done.push(Done { place, outcome });
        };
        load.at += usize::try_from(reader.position().byte()).unwrap_or_default();
        drop(reader);
        load.data = Some(data);
        if ended {
            job.state = State::JobComplete;
        }
    }

    fn take_row(
        &mut self,
        object: &mut ObjectType,
        load: &Load,
        operation: &str,
        row: Row,
        seen: &mut HashSet<String>,
    ) -> Result<Saved, ApiError> {
        if self.luck.record_fails() {
            let message = "unable to obtain exclusive access to this record or 1 records";
            return Err(ApiError::new(400, "UNABLE_TO_LOCK_ROW", message));
        }
        let actor = Actor { user: &self.user, now: self.now, luck: self.luck };
        let known = |row: &Row, verb: &str| match row.id.as_deref().map(ids::long) {
            Some(Some(id)) => Ok(id),
            Some(None) => {
                let message = format!("malformed id {}", row.id.as_deref().unwrap_or_default());
                Err(ApiError::new(400, "MALFORMED_ID", message))
            }
            None => {
                let message = format!("Id not specified in {verb} call");
                Err(ApiError::new(400, "MISSING_ARGUMENT", message))
            }
        };
        let old = |id: String| Saved { id, created: false };
        let by_id = load.external_id.as_deref() == Some("Id");
        match operation {
            "delete" => {
                let id = known(&row, "a delete")?;
                rows::delete(self.table, object, &id, &actor).map_err(gone)?;
                Ok(old(id))
            }
            "hardDelete" => {
                let id = known(&row, "a delete")?;
                match bin::purge(self.table, &object.name, &id, self.now) {
                    true => Ok(old(id)),
                    false => Err(gone(ApiError::not_found())),
                }
            }
            "update" => {
                let id = known(&row, "an update")?;
                rows::update(self.table, object, &id, &row.incoming, &actor).map_err(gone)?;
                Ok(old(id))
            }
            "upsert" if by_id && row.id.is_some() => {
                let id = known(&row, "an update")?;
                rows::update(self.table, object, &id, &row.incoming, &actor).map_err(gone)?;
                Ok(old(id))
            }
            "upsert" if !by_id => {
                let name = load.external_id.as_deref().unwrap_or_default();
                let field = object.field_to_write(self.table, name, &Value::Null)?;
                let key = row.key.ok_or_else(|| {
                    ApiError::save("MISSING_ARGUMENT", format!("{name} not specified"), &[name])
                })?;
                let text = String::from(key.to_plain().unwrap_or_default());
                if !seen.insert(text.to_lowercase()) {
                    let message = format!("Duplicate external id specified: {text}");
                    return Err(ApiError::save("DUPLICATE_VALUE", message, &[name]));
                }
                rows::upsert(self.table, object, (&field, &key), &row.incoming, &actor, true)
            }
            _ => {
                let id = rows::create(self.table, object, &row.incoming, &actor)?;
                Ok(Saved { id, created: true })
            }
        }
    }
}

/// Rows name records that may not exist: for the real service that is a wrong reference.
fn gone(error: ApiError) -> ApiError {
    match error.code {
        "NOT_FOUND" => ApiError::new(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"),
        _ => error,
    }
}

fn check_header(columns: &[String], object: &ObjectType, operation: &str) -> Result<(), String> {
    let is_id = |name: &String| name.eq_ignore_ascii_case("Id");
    if matches!(operation, "delete" | "hardDelete") {
        return match columns.iter().all(is_id) {
            true => Ok(()),
            false => Err("InvalidBatch : The 'delete' batch must contain only ids".to_owned()),
        };
    }
    let known = |name: &String| match name.split_once('.') {
        Some((relation, key)) => by_name(object, relation).is_some() && is_name(key),
        None => object.field(name).is_some() || object.open && is_name(name),
    };
    match columns.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(format!("InvalidBatch : Field name not found : {name}")),
    }
}

/// Turns cells into values: an empty one says nothing, `#N/A` clears.
fn row(load: &Load, object: &ObjectType, operation: &str, record: &ByteRecord) -> Row {
    let mut row = Row { incoming: Object::new(), id: None, key: None };
    for (name, cell) in load.columns.iter().zip(record) {
        let text = String::from_utf8_lossy(cell);
        if text.is_empty() {
            continue;
        }
        if name.eq_ignore_ascii_case("Id") && operation != "insert" {
            row.id = Some(text.trim().to_owned());
            continue;
        }
        let value = match text.as_ref() {
            "#N/A" => Value::Null,
            text => cell_value(object.field(name).map(|field| field.kind), text),
        };
        if let Some((relation, key)) = name.split_once('.') {
            // As a save in JSON names the record that it leads to.
            let named = serde_json::json!({ key: value.to_plain().map(String::from) });
            row.incoming.insert(relation.into(), Value::Json(named.to_string().into()));
            continue;
        }
        match &load.external_id {
            Some(key) if key.eq_ignore_ascii_case(name) => {
                row.key = Some(value).filter(|key| *key != Value::Null);
            }
            _ => {
                row.incoming.insert(name.as_str().into(), value);
            }
        }
    }
    row
}

/// Reads a cell as its field's type. What is no such value stays text and is refused on saving.
fn cell_value(kind: Option<Kind>, text: &str) -> Value {
    let plain = || Value::text(text);
    match kind {
        Some(Kind::Boolean) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => plain(),
        },
        Some(Kind::Int | Kind::Double | Kind::Currency) => Number::parse(text.trim()).unwrap_or_else(plain),
        _ => plain(),
    }
}

/// Writes an error as it stands in `sf__Error`.
fn written(error: &ApiError, load: &Load) -> String {
    let fields = match (&error.fields, error.status) {
        // The ids of several matches are no fields.
        (Some(_), 300) => load.external_id.clone().unwrap_or_default(),
        (Some(fields), _) => fields.join(","),
        (None, _) => String::new(),
    };
    let space = if fields.is_empty() { "" } else { " " };
    format!("{}:{}:{fields}{space}--", error.code, error.message)
}
