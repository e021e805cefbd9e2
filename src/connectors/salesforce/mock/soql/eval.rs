//! A query against the rows: which match, and in which order.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::column::Column;
use super::days::named_days;
use super::like::{Piece, like, pattern};
use super::{Comparison, Condition, Literal, Query, Select};
use crate::connectors::mock::{Object, Table};
use crate::connectors::salesforce::mock::errors::ApiError;
use crate::connectors::salesforce::mock::ids;
use crate::connectors::salesforce::mock::objects::{Field, Kind, ObjectType};
use crate::connectors::salesforce::wire::format_datetime;
use crate::engine::record::{Timestamp, Value};

/// A query whose names are resolved.
pub struct Plan {
    /// Without repeats; empty for a count.
    pub columns: Vec<Column>,
    pub(super) test: Option<Test>,
    pub(super) order: Vec<Sorting>,
}

pub(super) struct Sorting {
    pub(super) column: Column,
    pub(super) descending: bool,
    nulls_last: bool,
}

pub(super) enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare { column: Column, comparison: Comparison, with: Operand },
    Set { column: Column, texts: HashSet<String>, null: bool },
}

pub(super) enum Operand {
    Null,
    Bool(bool),
    Number(Value),
    /// Folded unless the column is bytewise.
    Text(String),
    /// A LIKE pattern, folded.
    Pattern(Vec<Piece>),
    /// From the first up to, not including, the second, in the stored form.
    Span(String, String),
}

/// Resolves a query's names against an object type; what is not to be found is pointed at.
pub fn plan(query: &Query, object: &ObjectType, table: &Table, now: Timestamp) -> Result<Plan, ApiError> {
    resolve(query, object, table, now).map_err(|error| pointed_at(error, &query.text))
}

/// Characters of the query that an error shows on either side of what it is about.
const SHOWN: usize = 60;

/// Puts the place in the query before an error that names something of it in quotes.
fn pointed_at(error: ApiError, query: &str) -> ApiError {
    let name = error.message.split('\'').nth(1).unwrap_or_default();
    let is_word =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let places = query.match_indices(name).find(|(at, _)| {
        let (before, after) = (query.get(..*at), query.get(at + name.len()..));
        !is_word(before.and_then(|before| before.chars().next_back()))
            && !is_word(after.and_then(|after| after.chars().next()))
    });
    let Some((at, _)) = places.filter(|_| error.code == "INVALID_FIELD" && !name.is_empty()) else {
        return error;
    };
    let before = query.get(..at).unwrap_or_default();
    let (row, line) = (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default());
    let column = line.chars().count() + 1;
    let skipped = line.chars().count().saturating_sub(SHOWN);
    let head: String = line.chars().skip(skipped).collect();
    let tail: String = query
        .get(at..)
        .unwrap_or_default()
        .chars()
        .take_while(|&letter| letter != '\n')
        .take(SHOWN)
        .collect();
    let caret = format!("{}^", " ".repeat(head.chars().count()));
    let message = format!("\n{head}{tail}\n{caret}\nERROR at Row:{row}:Column:{column}\n{}", error.message);
    ApiError { message, ..error }
}

fn resolve(query: &Query, object: &ObjectType, table: &Table, now: Timestamp) -> Result<Plan, ApiError> {
    let mut columns: Vec<Column> = Vec::new();
    if let Select::Fields(names) = &query.select {
        for name in names {
            for column in selected(name, object, table, query.limit)? {
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
    }
    if let Select::CountOf(name, _) = &query.select {
        columns.push(Column::find(name, object, table)?);
    }
    let test = query.condition.as_ref().map(|condition| test(condition, object, table, now)).transpose()?;
    let order = query
        .order
        .iter()
        .map(|order| {
            let column = Column::find(&order.field, object, table)?;
            Ok(Sorting { column, descending: order.descending, nulls_last: order.nulls_last })
        })
        .collect::<Result<_, ApiError>>()?;
    Ok(Plan { columns, test, order })
}

impl Plan {
    /// Tells whether a row is asked for.
    pub fn matches(&self, row: &Object, table: &Table) -> bool {
        self.test.as_ref().is_none_or(|test| test.holds(row, table))
    }

    /// Gives what [`Self::compare`] compares of a row.
    pub fn keys(&self, row: &Object, table: &Table) -> Vec<Value> {
        let key = |Sorting { column, .. }: &Sorting| match column.value(row, table) {
            Value::Text(text) if !column.bytewise() => Value::text(text.as_str().to_lowercase()),
            value => value,
        };
        self.order.iter().map(key).collect()
    }

    /// Puts two rows in order by their keys.
    pub fn compare(&self, left: &[Value], right: &[Value]) -> Ordering {
        let terms = self.order.iter().zip(left.iter().zip(right));
        let orders = terms.map(|(sorting, (left, right))| sorting.compare(left, right));
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Tells whether there is an ORDER BY.
    pub fn is_ordered(&self) -> bool {
        !self.order.is_empty()
    }
}

fn selected(
    name: &str,
    object: &ObjectType,
    table: &Table,
    limit: Option<usize>,
) -> Result<Vec<Column>, ApiError> {
    let Some(group) = name.strip_prefix("FIELDS(") else {
        return Ok(vec![Column::find(name, object, table)?]);
    };
    let wanted: fn(&Field) -> bool = match group {
        "ALL)" => |_| true,
        "STANDARD)" => |field| !field.name.ends_with("__c"),
        "CUSTOM)" => |field| field.name.ends_with("__c"),
        _ => return Err(ApiError::new(400, "MALFORMED_QUERY", format!("unexpected token: '{name}'"))),
    };
    if group != "STANDARD)" && limit.is_none_or(|limit| limit > 200) {
        let message = "The SOQL FIELDS function must have a LIMIT of at most 200";
        return Err(ApiError::new(400, "MALFORMED_QUERY", message));
    }
    Ok(object.fields.iter().filter(|field| wanted(field)).map(Column::plain).collect())
}

fn test(condition: &Condition, object: &ObjectType, table: &Table, now: Timestamp) -> Result<Test, ApiError> {
    let all = |parts: &[Condition]| {
        parts.iter().map(|part| test(part, object, table, now)).collect::<Result<_, _>>()
    };
    Ok(match condition {
        Condition::And(parts) => Test::All(all(parts)?),
        Condition::Or(parts) => Test::Any(all(parts)?),
        Condition::Not(inner) => Test::Not(Box::new(test(inner, object, table, now)?)),
        Condition::Compare { field, comparison, literal } => {
            let column = Column::find(field, object, table)?;
            let with = operand(&column, *comparison, literal, now)?;
            Test::Compare { column, comparison: *comparison, with }
        }
        Condition::In { field, literals, negated } => {
            let column = Column::find(field, object, table)?;
            let mut texts = HashSet::new();
            let mut null = false;
            for literal in literals {
                match operand(&column, Comparison::Equal, literal, now)? {
                    Operand::Null => null = true,
                    Operand::Text(text) | Operand::Span(text, _) => {
                        texts.insert(text);
                    }
                    Operand::Bool(flag) => {
                        texts.insert(flag.to_string());
                    }
                    Operand::Number(number) => {
                        texts.insert(number.to_plain().unwrap_or_default().into());
                    }
                    Operand::Pattern(_) => {}
                }
            }
            let set = Test::Set { column, texts, null };
            if *negated { Test::Not(Box::new(set)) } else { set }
        }
    })
}

fn operand(
    column: &Column,
    comparison: Comparison,
    literal: &Literal,
    now: Timestamp,
) -> Result<Operand, ApiError> {
    let kind = column.field.as_ref().map(|field| field.kind);
    let wrong = |must: &str| {
        let name = &column.name;
        let message = format!("value of filter criterion for field '{name}' must be of type {must}");
        Err(ApiError::new(400, "INVALID_FIELD", message))
    };
    Ok(match (literal, kind) {
        (Literal::Null, _) => Operand::Null,
        (Literal::Text(..), Some(Kind::Datetime)) => {
            return wrong("dateTime and should not be enclosed in quotes");
        }
        (Literal::Text(..), Some(Kind::Date)) => return wrong("date and should not be enclosed in quotes"),
        (Literal::Text(text, _), Some(Kind::Id | Kind::Reference)) => match ids::long(text) {
            Some(id) => Operand::Text(id),
            None => {
                let message = format!("invalid ID field: {text}");
                return Err(ApiError::new(400, "INVALID_QUERY_FILTER_OPERATOR", message));
            }
        },
        (Literal::Text(_, raw), _) if comparison == Comparison::Like => Operand::Pattern(pattern(raw)),
        (Literal::Text(text, _), _) => Operand::Text(text.to_lowercase()),
        (Literal::Bool(flag), _) => Operand::Bool(*flag),
        (Literal::Number(number), _) => Operand::Number(number.clone()),
        (Literal::DateTime(at), Some(Kind::Date)) => {
            let _ = at;
            return wrong("date");
        }
        (Literal::DateTime(at), _) => {
            Operand::Span(format_datetime(*at), format_datetime(Timestamp(at.0.saturating_add(1000))))
        }
        (Literal::Date(date), _) => match date.parse::<jiff::civil::Date>() {
            Ok(day) => span(day, day.saturating_add(jiff::Span::new().days(1)), kind),
            Err(_) => return wrong("date"),
        },
        (Literal::Named(name, number), _) => {
            let (from, until) = named_days(name, *number, now);
            span(from, until, kind)
        }
    })
}

/// Writes days in the form in which the field's values stand.
fn span(from: jiff::civil::Date, until: jiff::civil::Date, kind: Option<Kind>) -> Operand {
    let written = |day: jiff::civil::Date| match kind {
        Some(Kind::Date) => day.to_string(),
        _ => format!("{day}T00:00:00.000+0000"),
    };
    Operand::Span(written(from), written(until))
}

impl Test {
    fn holds(&self, row: &Object, table: &Table) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(row, table)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row, table)),
            Self::Not(inner) => !inner.holds(row, table),
            Self::Compare { column, comparison, with } => {
                with.holds(column, *comparison, &column.value(row, table))
            }
            Self::Set { column, texts, null } => match column.value(row, table) {
                Value::Null | Value::Absent | Value::Unknown => *null,
                value => texts.contains(column.folded(&value).as_ref()),
            },
        }
    }
}

impl Operand {
    fn holds(&self, column: &Column, comparison: Comparison, value: &Value) -> bool {
        let null = matches!(value, Value::Null | Value::Absent);
        let order = match self {
            Self::Null => {
                return match comparison {
                    Comparison::Equal => null,
                    Comparison::NotEqual => !null,
                    _ => false,
                };
            }
            // A null is unequal to every value and neither before nor after it.
            _ if null => return comparison == Comparison::NotEqual,
            Self::Pattern(pattern) => return like(pattern, &column.folded(value)),
            Self::Span(from, until) => {
                let Some(stands) = column.moment(value) else { return false };
                match (stands.as_ref() < from.as_str(), stands.as_ref() < until.as_str()) {
                    (true, _) => Ordering::Less,
                    (_, true) => Ordering::Equal,
                    _ => Ordering::Greater,
                }
            }
            Self::Bool(flag) => column.folded(value).as_ref().cmp(if *flag { "true" } else { "false" }),
            Self::Number(number) => numbers(value, number),
            Self::Text(text) => column.folded(value).as_ref().cmp(text.as_str()),
        };
        match comparison {
            Comparison::Equal | Comparison::Like => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Sorting {
    fn compare(&self, left: &Value, right: &Value) -> Ordering {
        let null = |value: &Value| matches!(value, Value::Null | Value::Absent | Value::Unknown);
        match (null(left), null(right)) {
            (true, true) => return Ordering::Equal,
            (true, false) => return if self.nulls_last { Ordering::Greater } else { Ordering::Less },
            (false, true) => return if self.nulls_last { Ordering::Less } else { Ordering::Greater },
            (false, false) => {}
        }
        let number = |value: &Value| matches!(value, Value::Int(_) | Value::Number(_));
        let order = match (number(left), number(right)) {
            (true, true) => numbers(left, right),
            (false, false) => match (left, right) {
                (Value::Text(left), Value::Text(right)) => left.cmp(right),
                _ => left.to_plain().cmp(&right.to_plain()),
            },
            // Only in a field that grew: numbers stand before text.
            (left, right) => right.cmp(&left),
        };
        if self.descending { order.reverse() } else { order }
    }
}

/// Compares numbers; text that is a number counts as one, other text comes after all numbers.
fn numbers(left: &Value, right: &Value) -> Ordering {
    let float = |value: &Value| match value {
        Value::Int(int) => *int as f64,
        Value::Number(number) => number.to_f64(),
        Value::Text(text) => text.parse().unwrap_or(f64::INFINITY),
        _ => f64::INFINITY,
    };
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        _ if left.agrees(right) => Ordering::Equal,
        // Nearly equal ones are not equal, as `agrees` just said.
        _ => float(left).total_cmp(&float(right)).then_with(|| left.to_plain().cmp(&right.to_plain())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::mock::object_from_json;
    use crate::connectors::salesforce::mock::soql::parse;

    fn holds(condition: &str, row: &str, strict: bool) -> Result<bool, ApiError> {
        let table = Table::default();
        let object = ObjectType::find(&table, strict, "Contact").expect("Contact");
        let query = parse(&format!("SELECT Id FROM Contact WHERE {condition}"))?;
        // 2024-06-15T12:00:00Z, a Saturday.
        let plan = plan(&query, &object, &table, Timestamp(1_718_452_800_000))?;
        Ok(plan.matches(&object_from_json(row).expect("a row"), &table))
    }

    #[test]
    fn conditions_hold_as_the_real_ones_do() {
        let row = r#"{"Id":"003ak000003dQCGAA2","LastName":"O'Hara","Title":null,"DoNotCall":true,
            "SystemModstamp":"2024-06-15T10:00:00.000+0000","Birthdate":"1980-02-29","n":10,"big":9007199254740993}"#;
        // (condition, holds, why)
        let cases = [
            (r"LastName = 'o\'hara'", true, "case is ignored"),
            ("LastName != 'x'", true, "unequal"),
            ("Title = null", true, "null"),
            ("Title != 'x'", true, "null is unequal to every value"),
            ("Title < 'x'", false, "null is not before anything"),
            ("NOT Title = null", false, "NOT"),
            ("LastName LIKE 'o%r_'", true, "LIKE"),
            (r"LastName LIKE 'o\'%\_'", false, "an escaped wildcard"),
            ("LastName LIKE '%%%%%%x'", false, "many wildcards"),
            ("LastName IN ('x', 'O\\'HARA')", true, "IN"),
            ("LastName NOT IN ('x', null)", true, "NOT IN"),
            ("Title IN (null)", true, "null in a list"),
            ("DoNotCall = true AND (Title = 'x' OR LastName > 'M')", true, "both"),
            ("SystemModstamp = 2024-06-15T10:00:00Z", true, "a moment"),
            ("SystemModstamp > 2024-06-15T10:00:00.000+00:00", false, "not after itself"),
            ("SystemModstamp >= 2024-06-15T12:00:00+02:00", true, "the same with an offset"),
            ("SystemModstamp = TODAY", true, "today"),
            ("SystemModstamp < YESTERDAY", false, "not before yesterday"),
            ("SystemModstamp = LAST_N_DAYS:3", true, "lately"),
            ("SystemModstamp = LAST_WEEK", false, "not last week"),
            ("Birthdate = 1980-02-29", true, "a date"),
            ("Birthdate < THIS_YEAR", true, "long ago"),
            ("Id = '003ak000003dQCG'", true, "the short id"),
            ("Id > '003ak000003dQCF'", true, "ids in byte order"),
            ("Id > '003ak000003dQCa'", false, "capitals come first"),
            ("n > 9 AND n <= 10", true, "numbers by amount"),
            ("n = '10'", true, "an open field has no type"),
            ("big = 9007199254740992", false, "2^53+1 is not 2^53"),
            ("never = null", true, "an open type has every column"),
        ];
        for (condition, expected, why) in cases {
            assert_eq!(holds(condition, row, false), Ok(expected), "{why}: {condition}");
        }
    }

    #[test]
    fn what_is_not_to_be_found_is_pointed_at() {
        let long = format!("SELECT Id FROM Contact WHERE LastName = '{}' AND Nope = 1", "x".repeat(200));
        // (query, name, the beginning of the message, why)
        let cases = [
            (
                "SELECT Nope FROM Contact",
                "Nope",
                "\nSELECT Nope FROM Contact\n       ^\nERROR at Row:1:Column:8\n",
                "in the list",
            ),
            (
                "SELECT Id,\n  Nope\nFROM Contact",
                "Nope",
                "\n  Nope\n  ^\nERROR at Row:2:Column:3\n",
                "in its own row",
            ),
            (
                "SELECT Nope2, Nope FROM Contact",
                "Nope",
                "\nSELECT Nope2, Nope FROM Contact\n              ^\nERROR at Row:1:Column:15\n",
                "as a word",
            ),
            (
                &long,
                "Nope",
                &format!(
                    "\n{}' AND Nope = 1\n{}^\nERROR at Row:1:Column:248\n",
                    "x".repeat(54),
                    " ".repeat(60)
                ),
                "with its surroundings",
            ),
            ("SELECT Id FROM Contact", "Nope", "No such", "nowhere"),
        ];
        for (query, name, begins, why) in cases {
            let message = format!("No such column '{name}' on entity 'Contact'.");
            let told = pointed_at(ApiError::new(400, "INVALID_FIELD", message), query).message;
            assert!(told.starts_with(begins), "{why}: {told}");
            assert!(told.ends_with("No such column 'Nope' on entity 'Contact'."), "{why}: {told}");
        }
    }

    #[test]
    fn wrong_conditions_are_refused() {
        // (condition, code, why)
        let cases = [
            ("SystemModstamp > '2024-06-15T10:00:00Z'", "INVALID_FIELD", "a moment in quotes"),
            ("Nope__c = 1", "INVALID_FIELD", "no such column"),
            ("Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR", "no id"),
        ];
        for (condition, code, why) in cases {
            let refused = holds(condition, "{}", true).expect_err(why);
            assert_eq!(refused.code, code, "{why}");
        }
    }
}
