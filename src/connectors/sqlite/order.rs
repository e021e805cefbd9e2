//! The order in which a table is walked, and the condition for going on behind a row.
//!
//! Invariant: the order is total (no two rows stand at the same place, views apart), so that no page
//! boundary can fall between equals; and going on behind a row needs nothing but that row's place.

use super::catalogue::{Table, quote};
use super::cell::Cell;

/// Terms to order by, as SQL.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub terms: Vec<String>,
    /// The place is nothing but the row's implicit number, which VACUUM may change.
    pub renumbered_by_vacuum: bool,
}

impl Order {
    /// Chooses the order for walking by key: along the index that the key has, else along the rows
    /// as they lie, because sorting the table anew for each page would take for ever.
    pub fn by_key(table: &Table, key: &[usize]) -> Self {
        let plain = |columns: &[usize]| Self {
            terms: columns.iter().map(|column| table.quoted_column(*column)).collect(),
            renumbered_by_vacuum: false,
        };
        if let Some(alias) = table.rowid_alias.filter(|alias| key.contains(alias)) {
            return plain(&[alias]);
        }
        if let Some(mut order) = Self::by_index(table, key) {
            let (total, rest) = match (&order.1, table.rowid) {
                (true, _) => (true, Vec::new()),
                (false, Some(rowid)) => (true, vec![rowid.to_owned()]),
                (false, None) => (!table.primary_key.is_empty(), plain(&table.primary_key).terms),
            };
            if total {
                order.0.extend(rest);
                return Self { terms: order.0, renumbered_by_vacuum: false };
            }
        }
        match table.rowid {
            Some(rowid) => {
                Self { terms: vec![rowid.to_owned()], renumbered_by_vacuum: table.rowid_alias.is_none() }
            }
            None if !table.primary_key.is_empty() => plain(&table.primary_key),
            // A view: rows that are alike in everything are one.
            None => {
                let rest = (0..table.columns.len()).filter(|column| !key.contains(column));
                plain(&key.iter().copied().chain(rest).collect::<Vec<_>>())
            }
        }
    }

    /// Puts a stamp in front: an index on it holds the rows' numbers behind it.
    pub fn by_stamp(&self, table: &Table, column: String) -> Self {
        let rest = match table.rowid {
            Some(rowid) => vec![rowid.to_owned()],
            None => self.terms.clone(),
        };
        Self { terms: std::iter::once(column).chain(rest).collect(), renumbered_by_vacuum: true }
    }

    /// Returns the terms of an index that leads with the key, and whether they are total.
    fn by_index(table: &Table, key: &[usize]) -> Option<(Vec<String>, bool)> {
        let terms = |parts: &[super::catalogue::IndexColumn]| {
            parts
                .iter()
                .map(|part| {
                    format!("{} COLLATE {}", table.quoted_column(part.column), quote(&part.collation))
                })
                .collect::<Vec<_>>()
        };
        if let Some((parts, true)) = table.unique_within(key)
            && one_way(parts)
        {
            return Some((terms(parts), true));
        }
        table.indexes.iter().find_map(|index| {
            let lead = index.columns.get(..key.len())?;
            (lead.iter().all(|part| key.contains(&part.column)) && one_way(lead))
                .then(|| (terms(lead), false))
        })
    }

    /// Returns the `ORDER BY` list.
    pub fn list(&self) -> String {
        self.terms.join(", ")
    }

    /// Returns conditions for the rows behind a place, one after the other in order, the place's
    /// values bound from `?first` on; each with the number of values that it needs.
    ///
    /// "Behind (a, b)" is taken apart into "a alike, b behind" and "a behind": an index serves each
    /// of them from its first row on, however many rows are alike, whereas it serves a comparison of
    /// whole rows only in part. NULL stands before everything in SQLite's order.
    pub fn behind(&self, place: &[Cell], first: usize) -> Vec<(String, usize)> {
        let alike = |at: usize, term: &str| match place.get(at) {
            Some(Cell::Null) | None => format!("{term} IS NULL"),
            Some(_) => format!("{term} = ?{}", first + at),
        };
        let mut steps = Vec::with_capacity(self.terms.len());
        for (at, term) in self.terms.iter().enumerate().rev() {
            let mut parts: Vec<String> =
                self.terms.iter().take(at).enumerate().map(|(at, term)| alike(at, term)).collect();
            parts.push(match place.get(at) {
                Some(Cell::Null) | None => format!("{term} IS NOT NULL"),
                Some(_) => format!("{term} > ?{}", first + at),
            });
            steps.push((parts.join(" AND "), at + 1));
        }
        steps
    }
}

/// All ascending or all descending: such an index can be walked either way.
fn one_way(parts: &[super::catalogue::IndexColumn]) -> bool {
    parts.iter().all(|part| part.descending) || parts.iter().all(|part| !part.descending)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// Walks in pages of `limit` and gives the rows in the order met.
    fn walk(conn: &Connection, table: &Table, order: &Order, limit: usize) -> Vec<String> {
        let (mut met, mut place): (Vec<String>, Option<Vec<Cell>>) = (Vec::new(), None);
        loop {
            let bound = place.take().unwrap_or_default();
            let steps = if met.is_empty() { vec![("1".to_owned(), 0)] } else { order.behind(&bound, 1) };
            let mut count = 0;
            for (condition, values) in steps {
                let list = order.list();
                let sql = format!(
                    "SELECT x, {list} FROM {} WHERE {condition} ORDER BY {list} LIMIT {}",
                    table.quoted(),
                    limit - count
                );
                let mut statement = conn.prepare(&sql).expect("a statement");
                for (at, cell) in bound.iter().enumerate().take(values.min(statement.parameter_count())) {
                    statement.raw_bind_parameter(at + 1, cell).expect("bound");
                }
                let mut rows = statement.raw_query();
                while let Some(row) = rows.next().expect("a row") {
                    met.push(row.get(0).expect("x"));
                    let cells =
                        (0..order.terms.len()).map(|at| Cell::from(row.get_ref(at + 1).expect("a term")));
                    place = Some(cells.collect());
                    count += 1;
                }
            }
            if count < limit {
                return met;
            }
        }
    }

    #[test]
    fn every_row_is_met_once_whatever_the_key_holds() {
        let rows = "(1,1,'a'),(1,1,'b'),(NULL,1,'c'),(NULL,NULL,'d'),(NULL,1,'e'),('1',2,'f'),('A',2,'g'),
                    ('a',2,'h'),(x'00',NULL,'i'),(1.5,2,'j'),(9007199254740993,1,'k'),(9007199254740992,1,'l'),
                    ('a',NULL,'m'),('B',2,'n'),(-3,0,'o'),(1,NULL,'p')";
        // (table, plan must not hold, why)
        let cases = [
            ("CREATE TABLE t (k, l, x)", "nothing indexed: along the rows"),
            ("CREATE TABLE t (k, l, x); CREATE INDEX i ON t (k, l)", "mixed kinds, NULLs and duplicates"),
            ("CREATE TABLE t (k, l, x); CREATE INDEX i ON t (l, k)", "an index in another order"),
            ("CREATE TABLE t (k, l, x); CREATE INDEX i ON t (k DESC, l DESC)", "a descending index"),
            ("CREATE TABLE t (k, l, x); CREATE INDEX i ON t (k DESC, l)", "an index that goes both ways"),
            (
                "CREATE TABLE t (k COLLATE NOCASE, l, x); CREATE INDEX i ON t (k, l)",
                "'A' and 'a' stand together",
            ),
            (
                "CREATE TABLE t (k COLLATE NOCASE, l, x); CREATE INDEX i ON t (k COLLATE BINARY, l)",
                "another collation",
            ),
            ("CREATE TABLE t (k, l, x PRIMARY KEY) WITHOUT ROWID", "no row numbers"),
            ("CREATE TABLE t (k, l, x PRIMARY KEY) WITHOUT ROWID; CREATE INDEX i ON t (k, l)", "both"),
            ("CREATE TABLE s (k, l, x); CREATE VIEW t AS SELECT * FROM s", "a view"),
        ];
        for (sql, why) in cases {
            let conn = Connection::open_in_memory().expect("a database");
            conn.execute_batch(sql).expect("the table");
            let stored = if sql.contains("VIEW") { "s" } else { "t" };
            conn.execute_batch(&format!("INSERT INTO {stored} VALUES {rows}")).expect("rows");
            let table = Table::load(&conn, "t").expect("a description");
            for key in [&[0][..], &[0, 1]] {
                let order = Order::by_key(&table, key);
                for limit in [1, 2, 3, 100] {
                    let mut met = walk(&conn, &table, &order, limit);
                    met.sort_unstable();
                    let expected: Vec<String> = ('a'..='p').map(String::from).collect();
                    assert_eq!(met, expected, "{why}: key {key:?}, pages of {limit}, {order:?}");
                }
            }
        }
    }

    #[test]
    fn pages_are_served_by_the_index() {
        // (table, key, why)
        let cases = [
            ("CREATE TABLE t (k INTEGER PRIMARY KEY, x)", &["k"][..], "the row's number"),
            ("CREATE TABLE t (k TEXT PRIMARY KEY, x)", &["k"], "nullable, so with a tie-breaker"),
            ("CREATE TABLE t (k TEXT NOT NULL UNIQUE, x)", &["k"], "unique"),
            ("CREATE TABLE t (k TEXT, x); CREATE INDEX i ON t (k)", &["k"], "duplicates"),
            ("CREATE TABLE t (k, l, x, PRIMARY KEY (l, k)) WITHOUT ROWID", &["k", "l"], "composite"),
            ("CREATE TABLE t (k, x)", &["k"], "along the rows"),
        ];
        for (sql, key, why) in cases {
            let conn = Connection::open_in_memory().expect("a database");
            conn.execute_batch(sql).expect("the table");
            let table = Table::load(&conn, "t").expect("a description");
            let key: Vec<usize> = key.iter().map(|name| table.column(name).expect("a column")).collect();
            let order = Order::by_key(&table, &key);
            assert_indexed(&conn, &order, why);
        }
        let conn = Connection::open_in_memory().expect("a database");
        conn.execute_batch("CREATE TABLE t (k TEXT PRIMARY KEY, s, x); CREATE INDEX i ON t (s)")
            .expect("the table");
        let table = Table::load(&conn, "t").expect("a description");
        let order = Order::by_key(&table, &[0]).by_stamp(&table, "s".to_owned());
        assert_indexed(&conn, &order, "by stamp");
    }

    fn assert_indexed(conn: &Connection, order: &Order, why: &str) {
        let place = vec![Cell::Int(1); order.terms.len()];
        for (condition, values) in order.behind(&place, 1) {
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT x FROM t WHERE {condition} ORDER BY {} LIMIT 10",
                order.list()
            );
            let mut statement = conn.prepare(&sql).expect("a statement");
            let plan: Vec<String> = statement
                .query_map(rusqlite::params_from_iter(place.iter().take(values)), |row| row.get(3))
                .expect("a plan")
                .collect::<Result<_, _>>()
                .expect("a plan");
            let plan = plan.join("; ");
            assert!(plan.contains("SEARCH") && !plan.contains("TEMP B-TREE"), "{why}: {plan}");
        }
    }
}
