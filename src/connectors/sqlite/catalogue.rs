//! What the database says of a table: columns, keys, indexes.
//!
//! Invariant: no identifier gets into a statement that was not found here, and none unquoted.

use rusqlite::{Connection, OptionalExtension};

use super::wire;
use crate::engine::fault::{Fault, FaultCode};

/// How a column treats what is stored into it.
/// See <https://www.sqlite.org/datatype3.html#determination_of_column_affinity>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    Integer,
    Real,
    Numeric,
    Text,
    /// Keeps everything as it is.
    None,
}

impl Affinity {
    /// Tells whether text that is a number is stored as one.
    pub fn is_numeric(self) -> bool {
        matches!(self, Self::Integer | Self::Real | Self::Numeric)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    Virtual,
    View,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub affinity: Affinity,
    pub not_null: bool,
    /// Computed: can be read, not written.
    pub generated: bool,
    /// A default other than NULL stands in where an insert leaves it out.
    pub has_default: bool,
    /// Declared BOOL or BOOLEAN.
    pub boolean: bool,
}

/// An index over whole columns of all rows.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub unique: bool,
    pub columns: Vec<IndexColumn>,
}

#[derive(Clone, Debug)]
pub(super) struct IndexColumn {
    pub column: usize,
    pub collation: String,
    pub descending: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub name: String,
    pub kind: Kind,
    pub columns: Vec<Column>,
    /// The column that is the row's number itself (`INTEGER PRIMARY KEY`).
    pub rowid_alias: Option<usize>,
    /// A name under which the row's number can be asked for.
    pub rowid: Option<&'static str>,
    /// The primary key of a table without row numbers.
    pub primary_key: Vec<usize>,
    pub indexes: Vec<Index>,
    /// Somebody's triggers may store something else than was written.
    pub has_triggers: bool,
}

/// Names of our own triggers and tables begin so.
pub(super) const OURS: &str = "_record_sync_";

/// Quotes an identifier. Not in `"`: a column that went away since it was looked up would be taken for a
/// text, its own name, in every row (<https://www.sqlite.org/quirks.html>, section 8).
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Table {
    /// Looks a table or view up by its name.
    pub fn load(conn: &Connection, name: &str) -> Result<Self, Fault> {
        let failed = |error| wire::classify(&format!("reading the catalogue for {name}"), &error);
        let found = conn
            .prepare_cached(
                "SELECT name, type, wr, strict FROM pragma_table_list
                 WHERE schema = 'main' AND name = ?1 COLLATE NOCASE AND type IN ('table', 'view', 'virtual')",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([name], |row| {
                        Ok((
                            row.get::<_, String>(0)?,
                            row.get::<_, String>(1)?,
                            row.get::<_, bool>(2)?,
                            row.get::<_, bool>(3)?,
                        ))
                    })
                    .optional()
            })
            .map_err(failed)?;
        match found {
            Some((name, kind, without_rowid, strict)) => {
                let kind = match kind.as_str() {
                    "view" => Kind::View,
                    "virtual" => Kind::Virtual,
                    _ => Kind::Table,
                };
                Self::load_found(conn, name, kind, without_rowid, strict).map_err(failed)
            }
            None => Err(unknown_table(conn, name)),
        }
    }

    fn load_found(
        conn: &Connection,
        name: String,
        kind: Kind,
        without_rowid: bool,
        strict: bool,
    ) -> rusqlite::Result<Self> {
        let mut columns = Vec::new();
        let mut primary: Vec<(i64, usize, bool)> = Vec::new();
        let mut at_cid: Vec<(i64, usize)> = Vec::new();
        let mut statement = conn.prepare_cached(
            "SELECT cid, name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1)",
        )?;
        let mut rows = statement.query([&name])?;
        while let Some(row) = rows.next()? {
            let hidden: i64 = row.get(6)?;
            if hidden == 1 {
                // A virtual table's argument, not data.
                continue;
            }
            let declared: String = row.get::<_, Option<String>>(2)?.unwrap_or_default();
            let default: Option<String> = row.get(4)?;
            let pk: i64 = row.get(5)?;
            if pk > 0 {
                primary.push((pk, columns.len(), declared.eq_ignore_ascii_case("INTEGER")));
            }
            at_cid.push((row.get(0)?, columns.len()));
            columns.push(Column {
                name: row.get(1)?,
                affinity: affinity(&declared, strict),
                not_null: row.get(3)?,
                generated: hidden > 1,
                has_default: default.is_some_and(|text| !text.eq_ignore_ascii_case("null")),
                boolean: declared.to_ascii_uppercase().starts_with("BOOL"),
            });
        }
        drop(rows);
        primary.sort_unstable();
        let (indexes, has_primary_index) = indexes(conn, &name, &at_cid)?;
        let has_rowid = !without_rowid && kind != Kind::View;
        let rowid_alias = match primary.as_slice() {
            [(_, column, true)] if has_rowid && !has_primary_index => Some(*column),
            _ => None,
        };
        let rowid = ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|alias| has_rowid && !columns.iter().any(|column| column.name.eq_ignore_ascii_case(alias)));
        let primary_key =
            if without_rowid { primary.iter().map(|(_, column, _)| *column).collect() } else { Vec::new() };
        let has_triggers = conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger'
                 AND tbl_name = ?1 COLLATE NOCASE AND substr(name, 1, length(?2)) <> ?2)",
            )?
            .query_row([&name, OURS], |row| row.get(0))?;
        Ok(Self { name, kind, columns, rowid_alias, rowid, primary_key, indexes, has_triggers })
    }

    /// Returns the position of a column: by its exact name, else as SQLite itself compares names.
    pub fn column(&self, name: &str) -> Option<usize> {
        let exact = self.columns.iter().position(|column| column.name == name);
        exact.or_else(|| self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name)))
    }

    /// Returns the position of a column, or a fault that names what there is.
    pub fn require(&self, name: &str, role: &str) -> Result<usize, Fault> {
        self.column(name).ok_or_else(|| {
            Fault::fatal(
                FaultCode::Configuration,
                format!("{} has no column {name:?}, which stands as {role}", self.name),
                format!("use one of: {}", listed(self.columns.iter().map(|column| column.name.as_str()))),
            )
        })
    }

    /// Returns the columns of a set that no two rows can share and that is part of `key`; with
    /// whether NULLs are impossible in it.
    pub fn unique_within(&self, key: &[usize]) -> Option<(&[IndexColumn], bool)> {
        let within =
            |index: &&Index| index.unique && index.columns.iter().all(|part| key.contains(&part.column));
        let tight = |index: &&Index| {
            index.columns.iter().all(|part| {
                self.primary_key.contains(&part.column)
                    || self.columns.get(part.column).is_some_and(|column| column.not_null)
            })
        };
        let mut fit: Vec<&Index> = self.indexes.iter().filter(within).collect();
        fit.sort_by_key(|index| (!tight(index), index.columns.len()));
        fit.first().map(|index| (index.columns.as_slice(), tight(index)))
    }

    /// Tells whether no two rows can have the same key.
    pub fn keys_unique(&self, key: &[usize]) -> bool {
        // A column without affinity holds 7 and '7', which are one key to us.
        let exact =
            |column: usize| self.columns.get(column).is_some_and(|known| known.affinity != Affinity::None);
        self.rowid_alias.is_some_and(|alias| key.contains(&alias))
            || self.unique_within(key).is_some_and(|(parts, _)| parts.iter().all(|part| exact(part.column)))
    }

    /// Tells whether a look-up by key need not read the whole table.
    pub fn key_indexed(&self, key: &[usize]) -> bool {
        self.rowid_alias.is_some_and(|alias| key.contains(&alias))
            || self
                .indexes
                .iter()
                .any(|index| index.columns.first().is_some_and(|part| key.contains(&part.column)))
    }

    /// Returns the quoted name.
    pub fn quoted(&self) -> String {
        quote(&self.name)
    }

    /// Returns a column's quoted name; a position is always one of ours.
    pub fn quoted_column(&self, at: usize) -> String {
        self.columns.get(at).map(|column| quote(&column.name)).unwrap_or_default()
    }
}

fn indexes(conn: &Connection, table: &str, at_cid: &[(i64, usize)]) -> rusqlite::Result<(Vec<Index>, bool)> {
    let mut listed =
        conn.prepare_cached("SELECT name, \"unique\", origin, partial FROM pragma_index_list(?1)")?;
    let names = listed
        .query_map([table], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, bool>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, bool>(3)?,
            ))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut of_index = conn.prepare_cached(
        "SELECT cid, \"desc\", coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno",
    )?;
    let mut found = Vec::new();
    let mut has_primary = false;
    for (name, unique, origin, partial) in names {
        has_primary |= origin == "pk";
        let mut columns = Vec::new();
        let mut plain = !partial;
        let mut rows = of_index.query([&name])?;
        while let Some(row) = rows.next()? {
            let cid: i64 = row.get(0)?;
            match at_cid.iter().find(|(known, _)| *known == cid) {
                Some((_, column)) => columns.push(IndexColumn {
                    column: *column,
                    descending: row.get(1)?,
                    collation: row.get(2)?,
                }),
                // An expression: no help for us.
                None => plain = false,
            }
        }
        if plain && !columns.is_empty() {
            found.push(Index { unique, columns });
        }
    }
    Ok((found, has_primary))
}

fn affinity(declared: &str, strict: bool) -> Affinity {
    let upper = declared.to_ascii_uppercase();
    let has = |word: &str| upper.contains(word);
    if has("INT") {
        Affinity::Integer
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Affinity::Text
    } else if has("BLOB") || upper.is_empty() || (strict && upper == "ANY") {
        Affinity::None
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

fn unknown_table(conn: &Connection, name: &str) -> Fault {
    let names = conn
        .prepare_cached(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'view', 'virtual')
             AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND substr(name, 1, length(?1)) <> ?1 ORDER BY name",
        )
        .and_then(|mut statement| {
            statement.query_map([OURS], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        })
        .unwrap_or_default();
    let remedy = if names.is_empty() {
        "the database has no tables yet: create it first".to_owned()
    } else {
        format!("use one of: {}", listed(names.iter().map(String::as_str)))
    };
    Fault::fatal(FaultCode::Configuration, format!("the database has no table or view {name:?}"), remedy)
}

/// Lists names for a message, not without end.
fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    const SHOWN_MAX: usize = 40;
    let names: Vec<&str> = names.take(SHOWN_MAX + 1).collect();
    match names.get(..SHOWN_MAX) {
        Some(shown) if names.len() > SHOWN_MAX => format!("{}, …", shown.join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sql: &str) -> Table {
        let conn = Connection::open_in_memory().expect("a database");
        conn.execute_batch(sql).expect("the table");
        Table::load(&conn, "t").expect("a description")
    }

    #[test]
    fn a_column_that_went_away_is_an_error_and_never_a_text() {
        let conn = Connection::open_in_memory().expect("a database");
        conn.execute_batch("CREATE TABLE t (id, `it``s \"x\"`); INSERT INTO t VALUES (1, 2)")
            .expect("the table");
        let read = |name: &str| {
            conn.query_row(&format!("SELECT {} FROM t", quote(name)), [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(read("it`s \"x\"").expect("whatever its name"), 2);
        let error = read("gone").expect_err("nothing to read").to_string();
        assert!(error.contains("no such column"), "{error}");
    }

    #[test]
    fn a_key_is_unique_only_by_the_tables_own_promise() {
        // (table, key, unique, why)
        let cases = [
            ("CREATE TABLE t (id INTEGER PRIMARY KEY, x)", &["id"][..], true, "the row's number itself"),
            ("CREATE TABLE t (id TEXT PRIMARY KEY, x)", &["id"], true, "an index of the primary key"),
            ("CREATE TABLE t (id PRIMARY KEY, x)", &["id"], false, "7 and '7' live side by side there"),
            ("CREATE TABLE t (id TEXT, x)", &["id"], false, "nothing promised"),
            ("CREATE TABLE t (a TEXT, b INT, PRIMARY KEY (b, a))", &["a", "b"], true, "in any order"),
            ("CREATE TABLE t (a TEXT, b INT, PRIMARY KEY (a, b))", &["a"], false, "half a key"),
            ("CREATE TABLE t (a TEXT UNIQUE, b INT)", &["a", "b"], true, "more than enough"),
            (
                "CREATE TABLE t (a TEXT, b INT); CREATE UNIQUE INDEX u ON t (a) WHERE b",
                &["a"],
                false,
                "only some of the rows",
            ),
            (
                "CREATE TABLE t (a TEXT, b INT); CREATE UNIQUE INDEX u ON t (lower(a))",
                &["a"],
                false,
                "an expression",
            ),
            (
                "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, x)",
                &["id"],
                true,
                "not the row's number, still unique",
            ),
            (
                "CREATE TABLE t (a TEXT, x, PRIMARY KEY (a)) WITHOUT ROWID",
                &["a"],
                true,
                "without row numbers",
            ),
        ];
        for (sql, key, unique, why) in cases {
            let table = table(sql);
            let key: Vec<usize> = key.iter().map(|name| table.column(name).expect("a column")).collect();
            assert_eq!(table.keys_unique(&key), unique, "{why}: {sql}");
        }
    }

    #[test]
    fn row_numbers_are_found_under_the_name_that_is_free() {
        assert_eq!(table("CREATE TABLE t (rowid TEXT, x)").rowid, Some("_rowid_"));
        assert_eq!(table("CREATE TABLE t (x PRIMARY KEY) WITHOUT ROWID").rowid, None);
        assert_eq!(table("CREATE TABLE t (id INTEGER PRIMARY KEY DESC)").rowid_alias, None);
        assert_eq!(table("CREATE TABLE t (id integer primary key)").rowid_alias, Some(0));
    }

    #[test]
    fn affinities_follow_the_declared_words() {
        // (declared, strict, affinity)
        let cases = [
            ("BIGINT", false, Affinity::Integer),
            ("VARCHAR(20)", false, Affinity::Text),
            ("", false, Affinity::None),
            ("DOUBLE", false, Affinity::Real),
            ("DECIMAL(10,2)", false, Affinity::Numeric),
            ("BOOLEAN", false, Affinity::Numeric),
            ("ANY", false, Affinity::Numeric),
            ("ANY", true, Affinity::None),
            ("FLOATING POINT", false, Affinity::Integer),
        ];
        for (declared, strict, expected) in cases {
            assert_eq!(affinity(declared, strict), expected, "{declared:?}");
        }
    }
}
