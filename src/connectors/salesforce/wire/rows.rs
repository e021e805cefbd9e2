//! Rows of query pages and of reads by id.

use std::sync::Arc;

use csv::StringRecord;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::bulk::value_of;
use super::describe::Described;
use super::time::parse_datetime;
use crate::connectors::rest::Members;
use crate::engine::record::{Meta, Record, Schema, Timestamp, Value, Values, value_from_raw};

/// A page of a query, its rows still raw.
#[derive(Deserialize)]
pub struct QueryPage<'b> {
    pub done: bool,
    #[serde(borrow)]
    pub records: Vec<&'b RawValue>,
}

/// Reads a query reply.
pub fn decode_page(body: &[u8]) -> Result<QueryPage<'_>, serde_json::Error> {
    serde_json::from_slice(body)
}

/// Reads the reply to a query that only counts.
pub fn decode_count(body: &[u8]) -> Result<u64, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Counted {
        total_size: u64,
    }
    serde_json::from_slice(body).map(|counted: Counted| counted.total_size)
}

/// Reads the reply to a read by ids: a row or `null` for each.
pub fn decode_rows(body: &[u8]) -> Result<Vec<Option<&RawValue>>, serde_json::Error> {
    let rows: Vec<&RawValue> = serde_json::from_slice(body)?;
    Ok(rows.into_iter().map(|row| Some(row).filter(|row| row.get() != "null")).collect())
}

/// What a row is made of.
#[derive(Debug)]
pub struct Row {
    pub record: Record,
    pub id: String,
    /// The text is kept as the moment: whole seconds.
    pub stamp: Timestamp,
    pub deleted: bool,
    pub modified_by: String,
    /// Why a value can't be read, and the row's raw text; the other values are there.
    pub problem: Option<(String, String)>,
    /// The hash of the raw text: two rows with the same hash say the same.
    pub hash: u64,
}

/// Which columns are asked for, and where their values go.
#[derive(Debug)]
pub struct Columns {
    /// The names of the SELECT list.
    pub names: Vec<String>,
    /// The records' schema: the names as the rules spell them.
    pub schema: Arc<Schema>,
    /// The places of `names` in the schema; `None` for system fields that the rules do not read.
    places: Vec<Option<usize>>,
}

/// Read with every row, in this order at the head of the list.
const SYSTEM: [&str; 4] = ["Id", "SystemModstamp", "IsDeleted", "LastModifiedById"];

impl Columns {
    /// Resolves the wanted fields (all of the type for `None`); gives the name of the first that
    /// the type lacks as the error.
    pub fn new(described: &Described, key: &[String], fields: Option<&[String]>) -> Result<Self, String> {
        let all: Vec<String>;
        let fields = match fields {
            Some(fields) => fields,
            None => {
                all = described.fields.iter().map(|field| field.name.clone()).collect();
                &all
            }
        };
        let schema = Schema::new(key.iter().chain(fields));
        let mut names: Vec<String> = SYSTEM
            .iter()
            .filter(|name| described.open || described.field(name).is_some())
            .map(|name| (*name).to_owned())
            .collect();
        if let Some(missing) = SYSTEM.iter().take(2).find(|name| !names.iter().any(|known| known == *name)) {
            return Err((*missing).to_owned());
        }
        let mut places = vec![None; names.len()];
        for (place, name) in schema.names().enumerate() {
            let spelled = described.spelling(name).ok_or_else(|| name.to_owned())?;
            match names.iter().position(|known| known.eq_ignore_ascii_case(&spelled)) {
                // Two spellings of one field: the first gets the value.
                Some(at) => {
                    if let Some(free @ None) = places.get_mut(at) {
                        *free = Some(place);
                    }
                }
                None => {
                    names.push(spelled);
                    places.push(Some(place));
                }
            }
        }
        Ok(Self { names, schema, places })
    }

    /// Reads a row; the error says why it has no place in the stream.
    pub fn decode(&self, whole: &RawValue) -> Result<Row, String> {
        let members: Members<'_> = serde_json::from_str(whole.get()).map_err(|error| error.to_string())?;
        let mut unfolding = self.unfold(xxhash_rust::xxh3::xxh3_64(whole.get().as_bytes()));
        for (at, (name, raw)) in members.0.iter().enumerate() {
            if name == "attributes" {
                continue;
            }
            // Members come in the order of the SELECT list, behind `attributes`.
            let guess = at.checked_sub(1).filter(|at| self.names.get(*at).is_some_and(|known| known == name));
            let found =
                guess.or_else(|| self.names.iter().position(|known| known.eq_ignore_ascii_case(name)));
            let Some(found) = found else { continue };
            let value = match value_from_raw(raw) {
                Ok(value) => value,
                Err(error) => {
                    unfolding.row.problem = Some((format!("{name}: {error}"), whole.get().to_owned()));
                    continue;
                }
            };
            unfolding.put(found, value)?;
        }
        unfolding.finish()
    }

    /// Reads a row of CSV, whose cells stand under these heads; the error says why it has no place in the stream.
    pub fn decode_cells(
        &self,
        described: &Described,
        heads: &StringRecord,
        cells: &StringRecord,
    ) -> Result<Row, String> {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for cell in cells {
            hash.update(cell.as_bytes());
            hash.update(&[0]);
        }
        if cells.len() != heads.len() {
            return Err(format!("the row has {} cells and should have {}", cells.len(), heads.len()));
        }
        let mut unfolding = self.unfold(hash.digest());
        for (at, (name, cell)) in heads.iter().zip(cells).enumerate() {
            let guess = Some(at).filter(|at| self.names.get(*at).is_some_and(|known| known == name));
            let found =
                guess.or_else(|| self.names.iter().position(|known| known.eq_ignore_ascii_case(name)));
            let Some(found) = found else { continue };
            unfolding.put(found, value_of(described.field(name).map(|field| field.kind), cell))?;
        }
        unfolding.finish()
    }

    fn unfold(&self, hash: u64) -> Unfolding<'_> {
        Unfolding {
            columns: self,
            values: vec![Value::Absent; self.schema.len()],
            row: Row {
                record: Record {
                    schema: Arc::clone(&self.schema),
                    values: Values::default(),
                    meta: Meta::default(),
                },
                id: String::new(),
                stamp: Timestamp(0),
                deleted: false,
                modified_by: String::new(),
                problem: None,
                hash,
            },
            stamped: false,
        }
    }
}

/// A row that is being read, column by column.
struct Unfolding<'c> {
    columns: &'c Columns,
    values: Vec<Value>,
    row: Row,
    stamped: bool,
}

impl Unfolding<'_> {
    /// Takes the value of a column.
    fn put(&mut self, column: usize, value: Value) -> Result<(), String> {
        let row = &mut self.row;
        match (self.columns.names.get(column).map(String::as_str), &value) {
            (Some("Id"), Value::Text(text)) => row.id = text.as_str().to_owned(),
            (Some("LastModifiedById"), Value::Text(text)) => row.modified_by = text.as_str().to_owned(),
            (Some("IsDeleted"), Value::Bool(flag)) => row.deleted = *flag,
            (Some("SystemModstamp"), Value::Text(text)) => {
                row.stamp = parse_datetime(text).ok_or("SystemModstamp is no date")?;
                self.stamped = true;
            }
            _ => {}
        }
        let place = self.columns.places.get(column).copied().flatten();
        if let Some(place) = place.and_then(|at| self.values.get_mut(at)) {
            *place = value;
        }
        Ok(())
    }

    fn finish(self) -> Result<Row, String> {
        let Self { mut row, values, stamped, .. } = self;
        if row.id.is_empty() || !stamped {
            return Err("the row lacks its Id or its SystemModstamp".to_owned());
        }
        row.record.values = values.into();
        row.record.meta = Meta {
            id: Some(row.id.as_str().into()),
            // The stamp alone is too coarse: two edits within a second would share a revision.
            revision: Some(compact_str::format_compact!("{}~{:016x}", row.stamp.0 / 1000, row.hash)),
            modified_at: Some(row.stamp),
            ours: false,
        };
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> Described {
        Described::decode(
            br#"{"fields":[{"name":"Id","type":"id"},{"name":"SystemModstamp","type":"datetime"},
            {"name":"IsDeleted","type":"boolean"},{"name":"LastModifiedById","type":"reference"},
            {"name":"LastName","type":"string"},{"name":"Big__c","type":"double"}]}"#,
        )
        .expect("a description")
    }

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn a_row_is_read_under_the_names_of_the_rules() {
        let fields = ["lastname".to_owned(), "Big__c".to_owned()];
        let columns = Columns::new(&described(), &["Id".to_owned()], Some(&fields)).expect("columns");
        assert_eq!(
            columns.names,
            ["Id", "SystemModstamp", "IsDeleted", "LastModifiedById", "LastName", "Big__c"]
        );
        let row = columns
            .decode(raw(
                r#"{"attributes":{"type":"Contact"},"Id":"003A","SystemModstamp":"2024-09-09T20:41:31.000+0000",
                "IsDeleted":false,"LastModifiedById":"005B","LastName":null,"Big__c":12345678901234567890.12}"#,
            ))
            .expect("a row");
        assert_eq!(row.record.get("Id"), &Value::text("003A"));
        assert_eq!(row.record.get("lastname"), &Value::Null);
        assert_eq!(row.record.get("Big__c").to_plain().as_deref(), Some("12345678901234567890.12"));
        assert_eq!(row.record.meta.modified_at, Some(Timestamp(1_725_914_491_000)));
        assert_eq!(row.modified_by, "005B");
    }

    #[test]
    fn what_is_no_row_says_why() {
        let columns = Columns::new(&described(), &[], Some(&[])).expect("columns");
        // (text, why)
        let cases = [
            ("7", "no object"),
            (r#"{"Id":"003A"}"#, "no stamp"),
            (r#"{"Id":"003A","SystemModstamp":"soon"}"#, "no date"),
            (r#"{"Id":"\ud800","SystemModstamp":"2024-09-09T20:41:31Z"}"#, "half a character"),
        ];
        for (text, why) in cases {
            assert!(columns.decode(raw(text)).is_err(), "{why}");
        }
        assert_eq!(Columns::new(&described(), &["Nope".to_owned()], None).expect_err("missing"), "Nope");
    }
}
