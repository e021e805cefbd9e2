//! Telephone numbers and mail addresses in their one form.

use phonenumber::{Mode, country};

/// Reads the two letters of a region.
pub(super) fn region(text: &str) -> Option<country::Id> {
    text.trim().to_ascii_uppercase().parse().ok()
}

/// Gives E.164 (`+4930123456`). A number without a country code is taken as one of `region`.
///
/// The length has to fit; whether a carrier ever gave the number out is not asked.
pub(super) fn phone(text: &str, region: country::Id) -> Result<String, String> {
    // Longer texts hold no number, and the parser's patterns need not see them.
    if text.len() > 64 {
        return Err("the text is too long for a telephone number".to_owned());
    }
    let number =
        phonenumber::parse(Some(region), text).map_err(|_| "the text is no telephone number".to_owned())?;
    if number.extension().is_some() {
        return Err("the telephone number has an extension, which E.164 can't hold".to_owned());
    }
    let digits = number.national().value().to_string().len() + usize::from(number.national().zeros());
    let fits = match number.code().value() {
        // The North American plan has ten digits without exception.
        1 => digits == 10,
        _ => (4..=14).contains(&digits),
    };
    if !fits && !phonenumber::is_valid(&number) {
        return Err("the telephone number is too short or too long".to_owned());
    }
    Ok(number.format().mode(Mode::E164).to_string())
}

/// Gives the address in small letters and without spaces around it, where it is one (the common
/// part of RFC 5321: no quoted names, no comments, no bare hosts).
pub(super) fn email(text: &str) -> Result<String, String> {
    let address = text.trim().to_lowercase();
    let fits = address.rsplit_once('@').is_some_and(|(name, host)| local_part(name) && host_name(host));
    if fits && address.len() <= 254 { Ok(address) } else { Err("the text is no e-mail address".to_owned()) }
}

fn local_part(name: &str) -> bool {
    let allowed = |char: char| char.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(char);
    (1..=64).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
}

fn host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|char| char.is_alphanumeric() || char == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.contains('.') && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telephone_numbers_become_e164() {
        // (text, region, number or nothing, why)
        let cases = [
            ("(212) 555-0100", "US", Some("+12125550100"), "as people write it"),
            ("030 123456", "DE", Some("+4930123456"), "the trunk zero goes"),
            ("+44 20 7946 0958", "US", Some("+442079460958"), "its own country beats the default"),
            ("+1 555 123 4567", "US", Some("+15551234567"), "never given out, but well formed"),
            ("06 123 45678", "IT", Some("+390612345678"), "Italy keeps its zero"),
            ("12345", "US", None, "too short"),
            ("212 555 0100 ext. 5", "US", None, "the extension would be lost"),
            ("call me", "US", None, "no number"),
            ("", "US", None, "nothing"),
        ];
        for (text, land, expected, why) in cases {
            let made = phone(text, region(land).expect("region"));
            assert_eq!(made.clone().ok().as_deref(), expected, "{why}: {made:?}");
        }
        assert!(region("XX").is_none(), "no such region");
    }

    #[test]
    fn mail_addresses_are_checked_and_small() {
        // (text, address or nothing, why)
        let cases = [
            (" Ada@Example.ORG ", Some("ada@example.org"), "spaces and case"),
            ("a+b@x-y.co.uk", Some("a+b@x-y.co.uk"), "plus and hyphen"),
            ("ü@exämple.de", Some("ü@exämple.de"), "letters of any script"),
            ("ada@localhost", None, "a bare host"),
            ("ada", None, "no at sign"),
            ("@x.org", None, "no name"),
            ("a b@x.org", None, "a space"),
            ("a@b@x.org", None, "two at signs"),
            ("a..b@x.org", None, "two dots"),
            ("a@-x.org", None, "hyphen first"),
            ("", None, "nothing"),
        ];
        for (text, expected, why) in cases {
            assert_eq!(email(text).ok().as_deref(), expected, "{why}");
        }
    }
}
