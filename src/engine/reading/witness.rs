//! Tells a stream that went back in time from one that only lost its newest records.
//!
//! A cursor keeps the newest records that it has passed, its witnesses. Deletions take some away, and a
//! clock that steps back gives an edited one an older stamp; a restored backup does that to all of them.

/// Records that a cursor keeps at most.
pub const WITNESSES: usize = 8;

/// What became of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stands as it was.
    Stands,
    /// It was edited since.
    Moved,
    Gone,
    /// It stands under an older stamp.
    Back,
}

/// The newest records that a cursor has passed, by stamp and id. What a stamp counts is the source's business.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Witnesses(Vec<(i64, String)>);

impl Witnesses {
    /// Takes a record in where it is among the newest.
    pub fn see(&mut self, stamp: i64, id: &str) {
        self.0.retain(|(_, known)| known != id);
        let place = self.0.partition_point(|(known, _)| *known >= stamp);
        self.0.insert(place, (stamp, id.to_owned()));
        self.0.truncate(WITNESSES);
    }

    /// Forgets those that are gone.
    pub fn keep(&mut self, stands: impl Fn(&str) -> bool) {
        self.0.retain(|(_, id)| stands(id));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates from the newest on.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &str)> {
        self.0.iter().map(|(stamp, id)| (*stamp, id.as_str()))
    }

    /// Tells the newest stamp.
    pub fn newest(&self) -> Option<i64> {
        self.0.first().map(|(stamp, _)| *stamp)
    }

    /// Tells the fate of each; `now` gives the stamp under which one stands. `by`: so far back is no backup,
    /// only a late save.
    pub fn fates(&self, by: i64, now: impl Fn(&str) -> Option<i64>) -> Vec<Fate> {
        let fate = |(then, id): (i64, &str)| match now(id) {
            None => Fate::Gone,
            Some(now) if now < then.saturating_sub(by) => Fate::Back,
            Some(now) if now == then => Fate::Stands,
            Some(_) => Fate::Moved,
        };
        self.iter().map(fate).collect()
    }
}

/// Says why a stream looks restored; `None` where it does not. The fates are those of the newest records, the
/// newest first: a backup takes all back that is newer than itself, so one that stands as it was speaks for
/// those that are older.
///
/// `are_newest`: nothing newer than the witnesses has come since. Where something has, missing ones are
/// ordinary deletions.
pub fn went_back(fates: &[Fate], are_newest: bool) -> Option<&'static str> {
    let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count();
    let (back, gone) = (count(Fate::Back), count(Fate::Gone));
    let stands = fates.iter().position(|fate| *fate == Fate::Stands);
    let last_back = fates.iter().rposition(|fate| *fate == Fate::Back);
    let spoken_for = stands.zip(last_back).is_some_and(|(stands, back)| stands < back);
    if back > 0 && back * 2 >= fates.len() && !spoken_for {
        return Some("stamps went back in time");
    }
    let none_left = fates.len() >= WITNESSES && back + gone == fates.len();
    (none_left && are_newest).then_some("its newest records are older than what was read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_told_from_deletions_and_from_a_clock() {
        use Fate::{Back, Gone, Moved, Stands};
        // (fates, nothing newer has come, restored, why)
        let cases: [(Vec<Fate>, bool, bool, &str); 13] = [
            (vec![], true, false, "nothing is known"),
            (vec![Stands; 8], true, false, "all is well"),
            (vec![Gone; 7], true, false, "a small stream lost what it had: the fuse sees to it"),
            (vec![Gone; 8], true, true, "none of the newest is left, older ones are"),
            (vec![Gone; 8], false, false, "a queue: what came is gone again"),
            ([vec![Gone; 7], vec![Stands]].concat(), true, false, "one is left"),
            (
                [vec![Back], vec![Stands; 7]].concat(),
                true,
                false,
                "one was edited while the clock was behind",
            ),
            ([vec![Back; 4], vec![Stands; 4]].concat(), true, true, "half of them are no accident"),
            ([vec![Back; 4], vec![Stands; 4]].concat(), false, true, "whatever came since"),
            (
                [vec![Stands], vec![Back; 7]].concat(),
                true,
                false,
                "the newest stands as it was: that is a clock",
            ),
            ([vec![Moved], vec![Back; 7]].concat(), false, true, "it was edited since: that says nothing"),
            ([vec![Gone], vec![Back; 7]].concat(), true, true, "it came after the backup"),
            (vec![Back], true, true, "all there was"),
        ];
        for (fates, are_newest, restored, why) in cases {
            assert_eq!(went_back(&fates, are_newest).is_some(), restored, "{why}");
        }
    }
}
