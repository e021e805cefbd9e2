//! Plausible people, always the same for the same id.

/// A row of the demo table without its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub name: String,
    pub email: String,
}

const FIRST_NAMES: [&str; 24] = [
    "Ada", "Bruno", "Chiara", "Dmitri", "Esther", "Farid", "Grace", "Hiroshi", "Ingrid", "Joaquín", "Kavya",
    "Liam", "Mei", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Søren", "Tariq", "Uma", "Viktor",
    "Wanjiru", "Zoë",
];

const LAST_NAMES: [&str; 25] = [
    "Abara",
    "Bergström",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fontana",
    "García",
    "Haddad",
    "Ito",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "O'Brien",
    "Petrov",
    "Quispe",
    "Rossi",
    "Schmidt",
    "Tanaka",
    "Usman",
    "Virtanen",
    "Weber",
    "Yilmaz",
    "Zhang",
];

/// The people of a table just made, with their status; one is held back by the demo rules.
pub(super) const FIRST_PEOPLE: [(i64, &str, &str, &str); 5] = [
    (101, "Ada Lovelace", "ada@example.test", "active"),
    (102, "Grace Hopper", "grace@example.test", "active"),
    (103, "Katherine Johnson", "katherine@example.test", "active"),
    (104, "Alan Turing", "alan@example.test", "inactive"),
    (105, "Edsger Dijkstra", "edsger@example.test", "active"),
];

/// Makes up the person of an id. The lists' lengths share no divisor, so that 600 ids pass before
/// a name comes again; the id keeps the e-mail addresses apart.
pub(super) fn person(id: i64) -> Person {
    let pick = |names: &[&'static str]| {
        let at = id.unsigned_abs() % u64::try_from(names.len()).unwrap_or(1).max(1);
        names.get(usize::try_from(at).unwrap_or(0)).copied().unwrap_or("Nobody")
    };
    let (first, last) = (pick(&FIRST_NAMES), pick(&LAST_NAMES));
    let local: String = format!("{first}.{last}").chars().filter_map(ascii).collect();
    Person { name: format!("{first} {last}"), email: format!("{local}.{id}@example.test") }
}

/// Folds the letters of the lists above to what every mail system takes.
fn ascii(letter: char) -> Option<char> {
    let plain = match letter.to_ascii_lowercase() {
        'í' | 'ï' => 'i',
        'ø' | 'ö' => 'o',
        'ë' => 'e',
        other => other,
    };
    (plain.is_ascii_alphanumeric() || plain == '.').then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_plausible_and_apart() {
        let people: Vec<Person> = (1..=1_000).map(person).collect();
        let mut emails: Vec<&str> = people.iter().map(|person| person.email.as_str()).collect();
        emails.sort_unstable();
        emails.dedup();
        assert_eq!(emails.len(), 1_000);
        assert!(emails.iter().all(|email| email.is_ascii()));
        assert_eq!(person(7), person(7), "the same id is the same person");
        assert_eq!(person(18).email, "soren.schmidt.18@example.test");
    }
}
