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

    /// Puts a column in front.
    pub fn led_by(&self, column: String) -> Self {
        let terms = std::iter::once(column).chain(self.terms.iter().cloned()).collect();
        Self { terms, ..self.clone() }
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

    /// Returns the condition for rows behind a place whose values are bound from `?first` on.
    ///
    /// NULL stands before everything in SQLite's order, but compares with nothing: places that
    /// hold one take the long form.
    pub fn behind(&self, place: &[Cell], first: usize) -> String {
        let marks: Vec<String> = (0..self.terms.len()).map(|at| format!("?{}", first + at)).collect();
        if !place.contains(&Cell::Null) {
            return match (self.terms.as_slice(), marks.as_slice()) {
                ([term], [mark]) => format!("{term} > {mark}"),
                _ => format!("({}) > ({})", self.list(), marks.join(", ")),
            };
        }
        let mut condition = String::from("0");
        for ((term, mark), cell) in self.terms.iter().zip(&marks).zip(place).rev() {
            let behind =
                if *cell == Cell::Null { format!("{term} IS NOT NULL") } else { format!("{term} > {mark}") };
            condition = format!("({behind} OR ({term} IS {mark} AND {condition}))");
        }
        condition
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
            let condition = place.as_ref().map_or("1".to_owned(), |place| order.behind(place, 1));
            let sql = format!(
                "SELECT {}, {} FROM {} WHERE {condition} ORDER BY {} LIMIT {limit}",
                "x",
                order.list(),
                table.quoted(),
                order.list()
            );
            let mut statement = conn.prepare(&sql).expect("a statement");
            let bound = place.take().unwrap_or_default();
            for (at, cell) in bound.iter().enumerate().take(statement.parameter_count()) {
                statement.raw_bind_parameter(at + 1, cell).expect("bound");
            }
            let mut rows = statement.raw_query();
            let mut count = 0;
            while let Some(row) = rows.next().expect("a row") {
                met.push(row.get(0).expect("x"));
                place = Some(
                    (0..order.terms.len())
                        .map(|at| Cell::from(row.get_ref(at + 1).expect("a term")))
                        .collect(),
                );
                count += 1;
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
            let place = vec![Cell::Int(1); order.terms.len()];
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT x FROM t WHERE {} ORDER BY {} LIMIT 10",
                order.behind(&place, 1),
                order.list()
            );
            let mut statement = conn.prepare(&sql).expect("a statement");
            let plan: Vec<String> = statement
                .query_map(rusqlite::params_from_iter(&place), |row| row.get(3))
                .expect("a plan")
                .collect::<Result<_, _>>()
                .expect("a plan");
            let plan = plan.join("; ");
            assert!(plan.contains("SEARCH") && !plan.contains("TEMP B-TREE"), "{why}: {plan}");
        }
    }
}
