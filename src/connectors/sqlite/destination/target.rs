//! How a batch's shape lies on the table.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::super::catalogue::{Affinity, Column, Kind};
use super::super::cell::Cell;
use super::super::options::{Capture, Stream};
use super::super::source::Projection;
use super::super::{stamp, wire};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::Schema;

/// A shape with its columns.
pub(super) struct Target {
    /// Reads rows back under the shape.
    pub projection: Projection,
    /// The table's columns, by position of the shape.
    pub columns: Vec<Column>,
    /// Their quoted names.
    pub names: Vec<String>,
    /// The database keeps keys unique, so that an insert need not look first.
    pub guarded: bool,
    /// What a row becomes can't be told beforehand: triggers or computed columns.
    pub opaque: bool,
    /// What a write may move beside its row.
    pub reaches: Reach,
    /// The stamp column with the SQL of the present moment, where nobody but us can set it: a reader
    /// that goes by the stamp would never see our write.
    pub touch: Option<Touch>,
    /// The assignment that marks a row as deleted, and the one that takes the mark away.
    pub marks: Option<(String, String)>,
}

/// How far a write may go beyond what is told of it.
pub(super) struct Reach {
    /// Somewhere in the database a trigger may answer to it.
    pub triggers: bool,
    /// A deletion, or another value of a key, may move rows that refer to it.
    pub cascades: bool,
}

impl Reach {
    fn of(conn: &Connection) -> rusqlite::Result<Self> {
        let is_there = |sql: &str| conn.query_row(sql, [], |row| row.get(0));
        Ok(Self {
            triggers: is_there("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger')")?,
            cascades: is_there(
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema AS made, pragma_foreign_key_list(made.name) AS refers \
                 WHERE made.type = 'table' AND (refers.on_update NOT IN ('NO ACTION', 'RESTRICT') \
                                                OR refers.on_delete NOT IN ('NO ACTION', 'RESTRICT')))",
            )?,
        })
    }
}

pub(super) struct Touch {
    /// Position in the shape, where it is there.
    pub position: Option<usize>,
    pub name: String,
    pub sql: &'static str,
}

impl Target {
    pub fn new(
        conn: &Connection,
        stream: &Stream,
        shape: &Arc<Schema>,
        key: &[String],
    ) -> Result<Self, Fault> {
        let table = &stream.table;
        if table.kind == Kind::View {
            return Err(Fault::fatal(
                FaultCode::Configuration,
                format!("{} is a view and can't be written", table.name),
                "name the table behind it, or give the link one direction only",
            ));
        }
        let projection = Projection::of_names(stream, Arc::clone(shape), key)?;
        if projection.key.len() != key.len() {
            return Err(Fault::fatal(
                FaultCode::Configuration,
                format!("the fields that are written to {} lack its key", table.name),
                "map every key field",
            ));
        }
        let at = shape.names().map(|name| table.require(name, "a field")).collect::<Result<Vec<_>, _>>()?;
        let columns: Vec<Column> = at.iter().filter_map(|at| table.columns.get(*at).cloned()).collect();
        let guarded = table.rowid_alias.is_some_and(|alias| stream.key.contains(&alias))
            || table.unique_within(&stream.key).is_some();
        let opaque = table.has_triggers || columns.iter().any(|column| column.generated);
        let doing = || format!("looking at {}", table.name);
        let reaches = Reach::of(conn).map_err(|error| wire::classify(&doing(), &error))?;
        Ok(Self {
            reaches,
            names: at.iter().map(|at| table.quoted_column(*at)).collect(),
            touch: touch(conn, stream, &at)?,
            marks: marks(conn, stream)?,
            projection,
            columns,
            guarded,
            opaque,
        })
    }

    pub fn shape(&self) -> &Arc<Schema> {
        &self.projection.schema
    }

    /// Returns the affinity of a position's column.
    pub fn affinity(&self, position: usize) -> Affinity {
        self.columns.get(position).map_or(Affinity::None, |column| column.affinity)
    }

    /// Returns the quoted name of a position's column.
    pub fn name(&self, position: usize) -> &str {
        self.names.get(position).map_or("", String::as_str)
    }
}

fn touch(conn: &Connection, stream: &Stream, shape: &[usize]) -> Result<Option<Touch>, Fault> {
    let Some(at) = stream.updated_at.filter(|_| stream.options.capture == Capture::Column) else {
        return Ok(None);
    };
    let Some(column) = stream.table.columns.get(at).filter(|column| !column.generated) else {
        return Ok(None);
    };
    let sample = sample(conn, stream, at)?;
    let sql = stamp::now_sql(sample.as_ref(), column.affinity == Affinity::Integer);
    let position = shape.iter().position(|known| *known == at);
    Ok(Some(Touch { position, name: stream.table.quoted_column(at), sql }))
}

fn marks(conn: &Connection, stream: &Stream) -> Result<Option<(String, String)>, Fault> {
    let Some(at) = stream.deleted_at else { return Ok(None) };
    let Some(column) = stream.table.columns.get(at) else { return Ok(None) };
    let name = stream.table.quoted_column(at);
    let set = if column.boolean {
        "1"
    } else {
        stamp::now_sql(sample(conn, stream, at)?.as_ref(), column.affinity == Affinity::Integer)
    };
    let clear = match (column.not_null, column.affinity) {
        (false, _) => "NULL",
        (true, Affinity::Text) => "''",
        (true, _) => "0",
    };
    Ok(Some((format!("{name} = {set}"), format!("{name} = {clear}"))))
}

/// Returns the greatest stamp that stands in a column, for its form.
fn sample(conn: &Connection, stream: &Stream, column: usize) -> Result<Option<Cell>, Fault> {
    let (name, table) = (stream.table.quoted_column(column), stream.table.quoted());
    conn.query_row(
        &format!("SELECT {name} FROM {table} WHERE {name} IS NOT NULL AND {name} NOT IN (0, '') ORDER BY {name} DESC LIMIT 1"),
        [],
        |row| row.get_ref(0).map(Cell::from),
    )
    .optional()
    .map_err(|error| wire::classify(&format!("looking at the stamps of {}", stream.table.name), &error))
}
