//! LIKE patterns.

/// One place of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    One,
    Many,
    Letter(char),
}

/// Reads a LIKE pattern as it was written.
pub fn pattern(raw: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut letters = raw.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => pieces.push(Piece::Many),
            '_' => pieces.push(Piece::One),
            '\\' => {
                let literal = match letters.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(other) => other,
                    None => '\\',
                };
                pieces.extend(literal.to_lowercase().map(Piece::Letter));
            }
            letter => pieces.extend(letter.to_lowercase().map(Piece::Letter)),
        }
    }
    pieces
}

/// Tells whether a folded text fits. Matches with one place to come back to: the last `%` suffices, so the cost stays at most the
/// product of the lengths.
pub fn like(pattern: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut here) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(here) {
        match pattern.get(at) {
            Some(Piece::Many) => {
                back = Some((at, here));
                at += 1;
            }
            Some(Piece::One) => {
                at += 1;
                here += 1;
            }
            Some(Piece::Letter(wanted)) if wanted == letter => {
                at += 1;
                here += 1;
            }
            _ => {
                let Some((many, from)) = back else { return false };
                back = Some((many, from + 1));
                at = many + 1;
                here = from + 1;
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|piece| *piece == Piece::Many)
}
