//! What a row can't take, in words: the column, the table, the remedy; never a value.

use super::super::catalogue::Table;
use super::super::wire;
use super::target::Target;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Key, Number, Record, Value};

pub(super) struct Refusals<'c> {
    pub table: &'c Table,
    pub target: &'c Target,
}

impl Refusals<'_> {
    /// Refuses values for computed columns, unless they stand there anyway.
    pub fn computed(&self, values: &[Value], current: Option<&Record>) -> Option<Fault> {
        let at = values.iter().enumerate().position(|(at, value)| {
            let stands = current.and_then(|record| record.values.get(at)) == Some(value);
            let computed = self.target.columns.get(at).is_some_and(|column| column.generated);
            !value.is_missing() && computed && !stands
        })?;
        Some(Fault {
            remedy: Some("take it out of the mapping in this direction".to_owned()),
            ..Fault::rejected(
                FaultCode::Validation,
                format!(
                    "the column {} of {} is computed and can't be written",
                    self.column(at),
                    self.table.name
                ),
            )
        })
    }

    /// Refuses a text key that its column would turn into another one (`007` into 7).
    pub fn moved_key(&self, values: &[Value]) -> Option<Fault> {
        let at = self.target.projection.key.iter().copied().find(|at| {
            let Some(Value::Text(text)) = values.get(*at) else { return false };
            if !self.target.affinity(*at).is_numeric() || !wire::is_numeric(text) {
                return false;
            }
            let stored = Number::parse(text);
            stored.as_ref().is_none_or(|stored| Key::from_values([stored]).ok() != Key::from_text(text).ok())
        })?;
        Some(Fault {
            remedy: Some("declare the key column TEXT, or convert the key in the mapping".to_owned()),
            ..Fault::rejected(
                FaultCode::Validation,
                format!(
                    "the column {} of {} takes numbers and would store this key as another one",
                    self.column(at),
                    self.table.name
                ),
            )
        })
    }

    /// Names a column as messages do.
    fn column(&self, at: usize) -> String {
        self.target.columns.get(at).map(|column| format!("{:?}", column.name)).unwrap_or_default()
    }

    pub fn lossy(&self, at: usize, what: &str) -> Fault {
        Fault {
            remedy: Some(
                "declare the column TEXT, or convert the value in the mapping (`to_int`, `trim` …)"
                    .to_owned(),
            ),
            ..Fault::rejected(
                FaultCode::Validation,
                format!("the column {} of {} can't keep {what}", self.column(at), self.table.name),
            )
        }
    }

    pub fn unreadable(&self, reason: &str) -> Fault {
        Fault {
            remedy: Some("correct the row by hand".to_owned()),
            ..Fault::rejected(
                FaultCode::Validation,
                format!("the row that stands in {} can't be compared: {reason}", self.table.name),
            )
        }
    }

    pub fn ambiguous(&self, rows: usize) -> Fault {
        Fault {
            remedy: Some("make the key unique in the table".to_owned()),
            ..Fault::rejected(
                FaultCode::Conflict,
                format!("{rows} rows of {} have this key", self.table.name),
            )
        }
    }
}
