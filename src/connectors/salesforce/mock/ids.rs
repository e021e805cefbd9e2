//! The ids that the org gives out.

use crate::connectors::salesforce::wire::id_check;
pub use crate::connectors::salesforce::wire::long_id as long;

/// In byte order, so that later serial numbers sort later.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes the 18-character id of an object type's n-th record.
pub fn make(prefix: &str, serial: u64) -> String {
    let mut digits = [b'0'; 9];
    let mut rest = serial;
    for place in digits.iter_mut().rev() {
        *place = DIGITS.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    let short: String = prefix.chars().chain("ak0".chars()).chain(digits.map(char::from)).collect();
    format!("{short}{}", id_check(&short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_in_which_they_were_made() {
        let ids: Vec<String> = (0..5000).map(|serial| make("003", serial)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.len() == 18 && long(id).as_ref() == Some(id)));
    }
}
