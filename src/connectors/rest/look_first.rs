//! What destinations share that have no upsert: a look by key before every create.

use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::Record;

/// Builds the fault of a key that several records share.
pub fn ambiguous(stream: &str, several: &[Record]) -> Fault {
    let ids: Vec<&str> = several.iter().filter_map(|record| record.meta.id.as_deref()).take(5).collect();
    Fault {
        remedy: Some("merge them there, or choose a key that is unique".to_owned()),
        ..Fault::rejected(FaultCode::Conflict, format!("{stream} {} share one key", ids.join(", ")))
    }
}

/// Cuts what is looked for into pieces of at most so many items and bytes; one that is too long goes alone.
pub fn chunks_by<T>(
    items: &[T],
    count_max: usize,
    bytes_max: usize,
    bytes_of: impl Fn(&T) -> usize,
) -> Vec<&[T]> {
    let (mut chunks, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, item) in items.iter().enumerate() {
        let here = bytes_of(item);
        if at > start && (at - start >= count_max || bytes + here > bytes_max) {
            chunks.extend(items.get(start..at));
            (start, bytes) = (at, 0);
        }
        bytes += here;
    }
    chunks.extend(items.get(start..).filter(|rest| !rest.is_empty()));
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_stays_short_enough_for_a_url() {
        // (lengths, chunk sizes, why)
        let cases = [
            (vec![], vec![], "nothing"),
            (vec![1; 100], vec![100], "just as many as may be"),
            (vec![1; 101], vec![100, 1], "one more"),
            (vec![1_000, 1_000, 1], vec![1, 2], "long ones"),
            (vec![5_000, 1], vec![1, 1], "one that is too long goes alone"),
        ];
        for (lengths, expected, why) in cases {
            let got: Vec<usize> =
                chunks_by(&lengths, 100, 1_800, |length| *length).iter().map(|chunk| chunk.len()).collect();
            assert_eq!(got, expected, "{why}");
        }
    }
}
