//! Rows into changes.

use std::sync::Arc;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::super::cell::Cell;
use super::super::options::Stream;
use super::super::stamp;
use super::super::wire;
use crate::connectors::StreamSpec;
use crate::engine::fault::Fault;
use crate::engine::record::{
    Change, Key, Malformed, Meta, Record, Schema, Timestamp, Tombstone, Value, Values,
};

/// Bytes of a malformed row that are shown at most.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// Which columns are read, and what they are for.
#[derive(Clone, Debug)]
pub(in super::super) struct Projection {
    pub schema: Arc<Schema>,
    /// The `SELECT` list: the columns of `schema`, then the deletion mark where there is one.
    pub select: String,
    /// Positions of the key in `schema`.
    pub key: Vec<usize>,
    updated_at: Option<usize>,
    deleted_at: Option<usize>,
    /// Columns in `select`.
    pub width: usize,
}

impl Projection {
    /// Takes the fields that the rules read, the key and the stamps.
    pub fn of_stream(stream: &Stream, spec: &StreamSpec) -> Result<Self, Fault> {
        let mut names: Vec<String> = match &spec.fields {
            Some(fields) => fields.clone(),
            None => stream.table.columns.iter().map(|column| column.name.clone()).collect(),
        };
        names.extend(spec.key.iter().cloned());
        names.extend(stream.options.updated_at.iter().cloned());
        names.extend(stream.options.deleted_at.iter().cloned());
        Self::of_names(stream, Schema::new(&names), &spec.key)
    }

    /// Takes exactly these names, the key's among them.
    pub fn of_names(stream: &Stream, schema: Arc<Schema>, key: &[String]) -> Result<Self, Fault> {
        let mut select = Vec::with_capacity(schema.len() + 1);
        for name in schema.names() {
            let column = stream.table.require(name, "a field")?;
            select.push(stream.table.quoted_column(column));
        }
        let place = |name: &Option<String>| name.as_ref().and_then(|name| schema.position(name));
        let deleted = stream.is_deleted_sql();
        let projection = Self {
            key: key.iter().filter_map(|name| schema.position(name)).collect(),
            updated_at: place(&stream.options.updated_at),
            deleted_at: deleted.as_ref().and_then(|_| place(&stream.options.deleted_at)),
            width: select.len() + usize::from(deleted.is_some()),
            schema,
            select: String::new(),
        };
        select.extend(deleted);
        Ok(Self { select: select.join(", "), ..projection })
    }

    /// Takes nothing but the key, in its order.
    pub fn of_key(stream: &Stream) -> Self {
        let names: Vec<String> = stream.key.iter().map(|at| stream.table.quoted_column(*at)).collect();
        Self {
            schema: Schema::new(&names),
            select: names.join(", "),
            key: (0..names.len()).collect(),
            updated_at: None,
            deleted_at: None,
            width: names.len(),
        }
    }

    /// Tells whether the row carries the deletion mark.
    pub fn is_deleted(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        match self.width > self.schema.len() {
            true => row.get(self.schema.len()),
            false => Ok(false),
        }
    }

    /// Reads the values; `Err` names the first that is none.
    pub fn values(&self, row: &Row<'_>) -> rusqlite::Result<Result<Values, String>> {
        let mut unread = None;
        let mut failed = None;
        // A range knows its length: one allocation for all.
        let values = (0..self.schema.len()).map(|at| match row.get_ref(at).map(wire::decode) {
            Ok(Ok(value)) => value,
            Ok(Err(what)) => {
                unread.get_or_insert((at, what));
                Value::Absent
            }
            Err(error) => {
                failed.get_or_insert(error);
                Value::Absent
            }
        });
        let values = values.collect();
        match (failed, unread) {
            (Some(error), _) => Err(error),
            (None, Some((at, what))) => {
                let field = self.schema.name(at).unwrap_or_default();
                Ok(Err(format!("the column {field} holds {what}")))
            }
            (None, None) => Ok(Ok(values)),
        }
    }

    /// Makes a record of the row; `Err` says why it is none.
    pub fn record(&self, row: &Row<'_>) -> rusqlite::Result<Result<Record, String>> {
        let modified_at = self.moment(row, self.updated_at)?;
        Ok(self.values(row)?.map(|values| Record {
            schema: Arc::clone(&self.schema),
            values,
            meta: Meta { modified_at, ..Meta::default() },
        }))
    }

    /// Makes a change of the row. `at`: when it changed, where the table itself does not say.
    pub fn change(&self, row: &Row<'_>, at: Option<Timestamp>) -> rusqlite::Result<Change> {
        if self.is_deleted(row)?
            && let Some(key) = self.key_of(row)?
        {
            let at = self.moment(row, self.deleted_at)?.or(at);
            return Ok(Change::Delete(Tombstone { key: Some(key), id: None, at }));
        }
        match self.record(row)? {
            Ok(mut record) => {
                record.meta.modified_at = record.meta.modified_at.or(at);
                Ok(Change::Upsert(record))
            }
            Err(reason) => {
                Ok(Change::Malformed(Malformed { key: self.key_of(row)?, raw: self.raw(row)?, reason }))
            }
        }
    }

    /// Makes the row's key; `None` where its columns hold none.
    pub fn key_of(&self, row: &Row<'_>) -> rusqlite::Result<Option<Key>> {
        let part = |at: usize| Ok(wire::decode(row.get_ref(at)?).unwrap_or_default());
        if let [only] = self.key.as_slice() {
            return Ok(Key::from_values([&part(*only)?]).ok());
        }
        let parts = self.key.iter().map(|at| part(*at)).collect::<rusqlite::Result<Vec<Value>>>()?;
        Ok(Key::from_values(&parts).ok())
    }

    fn moment(&self, row: &Row<'_>, column: Option<usize>) -> rusqlite::Result<Option<Timestamp>> {
        column.map_or(Ok(None), |at| Ok(stamp::moment(&Cell::from(row.get_ref(at)?))))
    }

    /// Shows the row as well as it can be shown.
    fn raw(&self, row: &Row<'_>) -> rusqlite::Result<String> {
        let mut raw = String::new();
        for (at, name) in self.schema.names().enumerate() {
            let shown = match row.get_ref(at)? {
                ValueRef::Null => "NULL".to_owned(),
                ValueRef::Integer(int) => int.to_string(),
                ValueRef::Real(float) => float.to_string(),
                ValueRef::Text(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
                ValueRef::Blob(bytes) => format!("({} bytes)", bytes.len()),
            };
            raw.push_str(&format!("{name}={shown} "));
            if raw.len() > RAW_BYTES_MAX {
                raw.truncate(raw.floor_char_boundary(RAW_BYTES_MAX));
                break;
            }
        }
        Ok(raw)
    }
}
