//! Columns of a query: a field of the row, or one at the end of a walk along relationships.

use std::borrow::Cow;

use crate::connectors::mock::{Object, Table};
use crate::connectors::salesforce::mock::errors::ApiError;
use crate::connectors::salesforce::mock::objects::{Field, Kind, ObjectType, is_name};
use crate::connectors::salesforce::mock::relations::by_name;
use crate::connectors::salesforce::wire::{format_datetime, parse_datetime};
use crate::engine::record::{Value, write_json};

/// Relationships that one column may walk along, as in the real service.
const STEPS_MAX: usize = 5;

/// A column whose names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    walk: Vec<Step>,
    /// The declared name of the field.
    pub name: String,
    /// `None` for a field that nobody wrote yet.
    pub field: Option<Field>,
}

/// One step to another record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// The name of the relationship.
    label: String,
    field: String,
    /// Types that it may lead to, by the prefix of their ids.
    targets: Vec<(String, String)>,
}

impl Column {
    /// Finds a column. An open type has every column: those that nobody wrote yet are null.
    pub fn find(path: &str, object: &ObjectType, table: &Table) -> Result<Self, ApiError> {
        let mut names: Vec<&str> = path.split('.').collect();
        // The type's own name may stand before a field.
        let own =
            names.len() > 1 && by_name(object, names.first().unwrap_or(&"")).is_none_or(|_| object.open);
        if own && names.first().is_some_and(|first| first.eq_ignore_ascii_case(&object.name)) {
            names.remove(0);
        }
        let last = names.pop().unwrap_or_default();
        if names.len() > STEPS_MAX {
            let message = "SELECT list may walk along 5 relationships at most";
            return Err(ApiError::new(400, "MALFORMED_QUERY", message));
        }
        let mut walk = Vec::new();
        let mut here = Cow::Borrowed(object);
        for name in names {
            let (step, next) = Step::find(name, &here, table)?;
            walk.push(step);
            here = Cow::Owned(next);
        }
        let field = here.field(last).cloned();
        match &field {
            Some(field) => Ok(Self { walk, name: field.name.clone(), field: Some(field.clone()) }),
            None if here.open && is_name(last) => Ok(Self { walk, name: last.to_owned(), field }),
            None => Err(unknown(last, &here.name)),
        }
    }

    /// Returns the column of a field of the row itself.
    pub fn plain(field: &Field) -> Self {
        Self { walk: Vec::new(), name: field.name.clone(), field: Some(field.clone()) }
    }

    /// Tells whether it is a field of the row itself.
    pub fn is_own(&self) -> bool {
        self.walk.is_empty()
    }

    /// Tells how values are compared: ids and moments byte by byte, all other text without regard to case.
    pub fn bytewise(&self) -> bool {
        let kind = self.field.as_ref().map(|field| field.kind);
        matches!(kind, Some(Kind::Id | Kind::Reference | Kind::Date | Kind::Datetime))
    }

    /// Returns the path under which the column is shown where rows are flat.
    pub fn label(&self) -> String {
        let labels = self.walk.iter().map(|step| step.label.as_str());
        labels.chain([self.name.as_str()]).collect::<Vec<_>>().join(".")
    }

    /// Returns the value; null where the walk leads nowhere.
    pub fn value(&self, row: &Object, table: &Table) -> Value {
        let end = self.walk.iter().try_fold(row, |row, step| step.follow(row, table).map(|(_, _, row)| row));
        end.and_then(|row| row.get(&self.name)).unwrap_or(Value::Null)
    }

    /// Gives text in the form in which it is compared.
    pub fn folded<'v>(&self, value: &'v Value) -> Cow<'v, str> {
        match value {
            Value::Text(text) if self.bytewise() => Cow::Borrowed(text),
            Value::Text(text) => Cow::Owned(text.as_str().to_lowercase()),
            other => Cow::Owned(String::from(other.to_plain().unwrap_or_default())),
        }
    }

    /// Gives a moment in the stored form, which sorts as text.
    pub fn moment<'v>(&self, value: &'v Value) -> Option<Cow<'v, str>> {
        let text = value.as_text()?;
        if self.bytewise() {
            return Some(Cow::Borrowed(text));
        }
        if text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10 {
            return Some(Cow::Owned(format!("{text}T00:00:00.000+0000")));
        }
        parse_datetime(text).map(|at| Cow::Owned(format_datetime(at)))
    }
}

impl Step {
    fn find(name: &str, from: &ObjectType, table: &Table) -> Result<(Self, ObjectType), ApiError> {
        let (field, to) = by_name(from, name).ok_or_else(|| {
            let message = format!(
                "Didn't understand relationship '{name}' in field path. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names."
            );
            ApiError::new(400, "INVALID_FIELD", message)
        })?;
        let known = to.and_then(|to| ObjectType::find(table, !from.open, to));
        let targets = match &known {
            Some(known) => vec![(known.prefix.clone(), known.name.clone())],
            None => ObjectType::all(table, !from.open).into_iter().map(|it| (it.prefix, it.name)).collect(),
        };
        let next = match known {
            Some(known) => known,
            // Whatever it leads to: every field may be there.
            None => {
                ObjectType { name: name.to_owned(), prefix: String::new(), fields: Vec::new(), open: true }
            }
        };
        Ok((Self { label: name.to_owned(), field, targets }, next))
    }

    /// Finds the record that a row leads to: its type, its id, and itself.
    fn follow<'r>(&self, row: &Object, table: &'r Table) -> Option<(&str, String, &'r Object)> {
        let id = row.text(&self.field)?;
        let (_, to) = self.targets.iter().find(|(prefix, _)| id.starts_with(prefix.as_str()))?;
        Some((to, id.to_owned(), table.get(to, id)?))
    }
}

/// Writes a row as the API does, with its attributes, and within it those that it leads to.
pub fn push_columns(
    out: &mut String,
    root: &str,
    (object, id, row): (&str, &str, &Object),
    columns: &[Column],
    table: &Table,
) {
    let columns: Vec<&Column> = columns.iter().collect();
    push_level(out, root, (object, id, row), &columns, 0, table);
}

fn push_level(
    out: &mut String,
    root: &str,
    (object, id, row): (&str, &str, &Object),
    columns: &[&Column],
    level: usize,
    table: &Table,
) {
    out.push_str(&format!(r#"{{"attributes":{{"type":"{object}","url":"{root}/sobjects/{object}/{id}"}}"#));
    let mut walked: Vec<&Step> = Vec::new();
    for column in columns {
        let Some(step) = column.walk.get(level) else {
            out.push_str(&format!(r#","{}":"#, column.name));
            write_json(&row.get(&column.name).unwrap_or(Value::Null), out);
            continue;
        };
        if walked.contains(&step) {
            continue;
        }
        walked.push(step);
        out.push_str(&format!(r#","{}":"#, step.label));
        let along: Vec<&Column> =
            columns.iter().filter(|other| other.walk.get(level) == Some(step)).copied().collect();
        match step.follow(row, table) {
            None => out.push_str("null"),
            Some((to, id, row)) => push_level(out, root, (to, &id, row), &along, level + 1, table),
        }
    }
    out.push('}');
}

fn unknown(name: &str, entity: &str) -> ApiError {
    let message = format!(
        "No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names."
    );
    ApiError::new(400, "INVALID_FIELD", message)
}
