//! How a batch is cut into calls, so that one record that spoils them spoils few others.
//!
//! Invariant: every record is in exactly one part; records that failed before go in calls that halve with each
//! attempt, until each goes alone.

/// Cuts a batch: gives places, a call each. `attempts` says for each record which attempt this is, from 1; at
/// most `limit` go in one call.
pub fn parts(attempts: &[u32], limit: usize) -> Vec<Vec<usize>> {
    let limit = limit.max(1);
    let mut places: Vec<usize> = (0..attempts.len()).collect();
    let attempt = |place: &usize| attempts.get(*place).copied().unwrap_or(1).max(1);
    // Those that never failed first: they are the ones that most likely arrive.
    places.sort_by_key(attempt);
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for of_one_kind in places.chunk_by(|a, b| attempt(a) == attempt(b)) {
        let halvings = of_one_kind.first().map_or(0, |place| attempt(place) - 1);
        let most = limit.checked_shr(halvings).unwrap_or(0).max(1);
        parts.extend(of_one_kind.chunks(most).map(<[usize]>::to_vec));
    }
    parts
}

/// Cuts a part in two that was refused as a whole; `None` where one record is left, which is to blame.
pub fn halves(mut part: Vec<usize>) -> Option<[Vec<usize>; 2]> {
    if part.len() < 2 {
        return None;
    }
    let second = part.split_off(part.len() / 2);
    Some([part, second])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_before_goes_in_smaller_calls() {
        // (attempts, limit, calls, why)
        let cases = [
            (vec![], 10, vec![], "nothing to send"),
            (vec![1, 1, 1], 10, vec![vec![0, 1, 2]], "nothing failed yet: one call"),
            (vec![1, 1, 1], 2, vec![vec![0, 1], vec![2]], "as many as a call takes"),
            (vec![2, 2, 2, 2], 4, vec![vec![0, 1], vec![2, 3]], "a second attempt in halves"),
            (vec![3, 3, 3, 3], 4, vec![vec![0], vec![1], vec![2], vec![3]], "a third in quarters"),
            (vec![9, 9], 4, vec![vec![0], vec![1]], "never fewer than one"),
            (vec![3, 1, 3, 1], 8, vec![vec![1, 3], vec![0, 2]], "fresh ones first and for themselves"),
            (vec![u32::MAX, 0], 0, vec![vec![1], vec![0]], "whatever the figures"),
        ];
        for (attempts, limit, calls, why) in cases {
            assert_eq!(parts(&attempts, limit), calls, "{why}");
        }
    }

    #[test]
    fn one_bad_record_is_found_in_few_calls() {
        for (count, bad) in [(1, 0), (2, 1), (200, 0), (200, 77), (200, 199)] {
            let (mut left, mut calls, mut blamed) = (vec![(0..count).collect::<Vec<usize>>()], 0, Vec::new());
            while let Some(part) = left.pop() {
                calls += 1;
                if part.contains(&bad) {
                    match halves(part.clone()) {
                        Some(halves) => left.extend(halves),
                        None => blamed.extend(part),
                    }
                }
            }
            assert_eq!(blamed, [bad], "of {count}");
            assert!(calls <= 17, "two calls a halving: {calls}");
        }
    }
}
