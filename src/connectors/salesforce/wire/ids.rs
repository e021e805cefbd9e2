//! Salesforce ids: 15 characters that mind their case, or 18 that carry the case beside them.

const CHECKS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// Turns either form into the long one; `None` where the text is no id.
pub fn long_id(text: &str) -> Option<String> {
    if !matches!(text.len(), 15 | 18) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let short = text.get(..15)?;
    Some(format!("{short}{}", id_check(short)))
}

/// Returns the three check characters: each tells which of five characters are capitals.
pub fn id_check(short: &str) -> String {
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
        assert_eq!(long_id("003ak000003dQCG").as_deref(), Some("003ak000003dQCGAA2"));
        assert_eq!(long_id("001ak00000OQTie").as_deref(), Some("001ak00000OQTieAAH"));
        assert_eq!(long_id("001ak00000OQTieAAH").as_deref(), Some("001ak00000OQTieAAH"));
        for text in ["", "001", "001ak00000OQTi!", "001ak00000OQTieA"] {
            assert_eq!(long_id(text), None, "{text:?}");
        }
    }
}
