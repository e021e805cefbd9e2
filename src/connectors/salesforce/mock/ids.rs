//! Salesforce ids: 15 characters that mind their case, or 18 that carry the case beside them.

/// In byte order, so that later serial numbers sort later.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECKS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// Makes the 18-character id of an object type's n-th record.
pub fn make(prefix: &str, serial: u64) -> String {
    let mut digits = [b'0'; 9];
    let mut rest = serial;
    for place in digits.iter_mut().rev() {
        *place = DIGITS.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    let short: String = prefix.chars().chain("ak0".chars()).chain(digits.map(char::from)).collect();
    format!("{short}{}", check(&short))
}

/// Turns either form into the long one; `None` where the text is no id.
pub fn long(text: &str) -> Option<String> {
    if !matches!(text.len(), 15 | 18) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let short = text.get(..15)?;
    Some(format!("{short}{}", check(short)))
}

/// Returns the three check characters: each tells which of five characters are capitals.
fn check(short: &str) -> String {
    let letters = short.as_bytes().chunks(5).map(|group| {
        let bits = group
            .iter()
            .enumerate()
            .filter(|(_, letter)| letter.is_ascii_uppercase())
            .fold(0, |bits, (place, _)| bits | 1 << place);
        char::from(CHECKS.get(bits).copied().unwrap_or(b'A'))
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_characters_are_those_of_real_ids() {
        assert_eq!(long("003ak000003dQCG").as_deref(), Some("003ak000003dQCGAA2"));
        assert_eq!(long("001ak00000OQTie").as_deref(), Some("001ak00000OQTieAAH"));
        assert_eq!(long("001ak00000OQTieAAH").as_deref(), Some("001ak00000OQTieAAH"));
        for text in ["", "001", "001ak00000OQTi!", "001ak00000OQTieA"] {
            assert_eq!(long(text), None, "{text:?}");
        }
    }

    #[test]
    fn ids_sort_in_the_order_in_which_they_were_made() {
        let ids: Vec<String> = (0..5000).map(|serial| make("003", serial)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.len() == 18 && long(id).as_ref() == Some(id)));
    }
}
