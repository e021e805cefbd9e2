//! What the rules of the merge say of a case, written a second time and differently: by field and by
//! hand, without the planner.

use super::*;

/// How a side stands at last; `None` where it has no record.
pub(super) type Ends = [Option<Fields>; 2];

/// What becomes of a case.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Parked until somebody picks.
    Parked,
    Stands(Ends),
    /// As above, but one field is the union `v1;v2` on both sides: no number stands for that.
    Unions([bool; 3], Ends),
}

/// Two ways to say the same.
fn same(one: usize, other: usize) -> bool {
    one == other || (blank(one) && blank(other))
}

/// A field that is not there, or null: the same to both sides.
fn blank(value: usize) -> bool {
    value <= 1
}

const ABSENT: usize = 0;

enum Settled {
    Both(usize),
    AsTheyAre,
    Union,
    Parked,
}

/// Gives what the case comes to.
pub(super) fn end(case: &Case, regime: &Regime) -> End {
    match case.looks {
        [Look::Shows(a), Look::Shows(b)] => merged(case.base, a, b, regime),
        [Look::Shows(a), missing] => one_sided(case.base, a, missing, regime, |here, there| [here, there]),
        [missing, Look::Shows(b)] => one_sided(case.base, b, missing, regime, |here, there| [there, here]),
        _ => End::Stands([None, None]),
    }
}

/// A record here; at the other side it was deleted, or never was.
fn one_sided(
    base: Option<Fields>,
    here: Fields,
    missing: Look,
    regime: &Regime,
    ends: fn(Option<Fields>, Option<Fields>) -> Ends,
) -> End {
    // What says the same, and what was taken away, would not have travelled.
    let untouched = base.is_some_and(|base| (0..3).all(|at| same(base[at], here[at]) || here[at] == ABSENT));
    End::Stands(match (missing, untouched, regime.deletes) {
        (Look::Gone, true, Deletes::Propagate) => ends(None, None),
        (Look::Gone, true, Deletes::Ignore) => ends(Some(here), None),
        (Look::Gone, true, Deletes::Archive) => ends(Some([here[0], here[1], 3]), None),
        // New, or edited: it is made over there.
        _ => ends(Some(here), Some(here)),
    })
}

fn merged(base: Option<Fields>, a: Fields, b: Fields, regime: &Regime) -> End {
    let mut ends = [a, b];
    let mut unions = [false; 3];
    for at in 0..3 {
        match field(base.map(|base| base[at]), a[at], b[at], regime) {
            Settled::AsTheyAre => {}
            Settled::Both(value) => ends.iter_mut().for_each(|fields| fields[at] = value),
            Settled::Union => unions[at] = true,
            Settled::Parked => return End::Parked,
        }
    }
    let ends = ends.map(Some);
    if unions.contains(&true) { End::Unions(unions, ends) } else { End::Stands(ends) }
}

fn field(base: Option<usize>, a: usize, b: usize, regime: &Regime) -> Settled {
    if same(a, b) {
        return Settled::AsTheyAre;
    }
    // What is not there can't be written: it neither travels nor wins.
    if a == ABSENT || b == ABSENT {
        let there = a.max(b);
        let kept = base.is_some_and(|base| same(base, there));
        return if kept { Settled::AsTheyAre } else { Settled::Both(there) };
    }
    if base.is_some_and(|base| same(base, b)) {
        return Settled::Both(a);
    }
    if base.is_some_and(|base| same(base, a)) {
        return Settled::Both(b);
    }
    let newest = match regime.stamps {
        [Some(at_a), Some(at_b)] if at_b > at_a => b,
        _ => a,
    };
    Settled::Both(match regime.conflict {
        ConflictPolicy::Newest => newest,
        ConflictPolicy::A => a,
        ConflictPolicy::B => b,
        ConflictPolicy::Manual => return Settled::Parked,
        // Numbers of values go up as the values do.
        ConflictPolicy::Max => a.max(b),
        ConflictPolicy::Min => a.min(b),
        ConflictPolicy::NonEmpty if blank(a) => b,
        ConflictPolicy::NonEmpty if blank(b) => a,
        ConflictPolicy::Union if !blank(a) && !blank(b) => return Settled::Union,
        ConflictPolicy::NonEmpty | ConflictPolicy::Union => newest,
    })
}
