//! As much XML as an envelope needs: elements within elements and their text.
//!
//! Invariant: reading takes a stack as deep as [`DEPTH_MAX`] at most, whatever is sent. Document types
//! are refused: entities of one's own are the usual way to make a reader explode.

/// Elements within each other.
const DEPTH_MAX: usize = 50;

/// An element by its name without prefix; attributes are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    /// What stands directly in it, entities resolved.
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// Finds a child.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Finds an element anywhere within, the first one in the text.
    pub fn find(&self, name: &str) -> Option<&Self> {
        match self.name == name {
            true => Some(self),
            false => self.children.iter().find_map(|child| child.find(name)),
        }
    }
}

/// Reads a document; `None` where it is not well formed.
pub fn read(text: &str) -> Option<Element> {
    // The outermost is no element: it collects the one that there has to be.
    let mut open = vec![Element::default()];
    let mut rest = text.trim_start_matches('\u{feff}');
    while !rest.is_empty() {
        let (plain, markup) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
        open.last_mut()?.text.push_str(&resolved(plain)?);
        rest = if let Some(comment) = markup.strip_prefix("<!--") {
            comment.split_once("-->")?.1
        } else if let Some(section) = markup.strip_prefix("<![CDATA[") {
            let (inner, rest) = section.split_once("]]>")?;
            open.last_mut()?.text.push_str(inner);
            rest
        } else if let Some(instruction) = markup.strip_prefix("<?") {
            instruction.split_once("?>")?.1
        } else if let Some(tag) = markup.strip_prefix("</") {
            let (name, rest) = tag.split_once('>')?;
            let closed = open.pop().filter(|closed| closed.name == local(name.trim()))?;
            open.last_mut()?.children.push(closed);
            rest
        } else if let Some(tag) = markup.strip_prefix('<') {
            let (inside, rest) = tag.split_at_checked(end_of_tag(tag)?)?;
            let (inside, empty) = match inside.strip_suffix('/') {
                Some(inside) => (inside, true),
                None => (inside, false),
            };
            let name = inside.split(|letter: char| letter.is_ascii_whitespace()).next()?;
            let begins = |first: char| first.is_alphabetic() || first == '_';
            if !name.starts_with(begins) || open.len() > DEPTH_MAX {
                return None;
            }
            let element = Element { name: local(name).to_owned(), ..Element::default() };
            if empty {
                open.last_mut()?.children.push(element)
            } else {
                open.push(element)
            }
            rest.strip_prefix('>')?
        } else {
            break;
        };
    }
    let mut outermost = open.pop().filter(|_| open.is_empty())?;
    let document = outermost.children.pop()?;
    (outermost.children.is_empty() && outermost.text.trim().is_empty()).then_some(document)
}

/// Writes text so that it stands in an element as it is.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Finds the `>` that ends a tag, past those in attributes.
fn end_of_tag(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in tag.char_indices() {
        match (quote, letter) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
    }
    None
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn resolved(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((plain, entity)) = rest.split_once('&') {
        out.push_str(plain);
        let (name, after) = entity.split_once(';')?;
        out.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_taken_apart_whoever_writes_them() {
        let cases = [
            ("<a><password>p&amp;&lt;&#x41;&apos;</password></a>", "p&<A'", "entities"),
            (
                "<?xml version='1.0'?>\n<x:a xmlns:x=\"u\"><x:password a='>'>p</x:password></x:a>\n",
                "p",
                "prefixes",
            ),
            ("<a><!-- <password>no</password> --><password><![CDATA[<p>]]></password></a>", "<p>", "CDATA"),
            ("<a><b/><b c=\"d\"/><password>\u{fc}</password></a>", "\u{fc}", "empty elements"),
        ];
        for (text, password, why) in cases {
            let read = read(text);
            let found = read.as_ref().and_then(|envelope| envelope.find("password"));
            assert_eq!(found.map(|found| found.text.as_str()), Some(password), "{why}: {read:?}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let deep = "<a>".repeat(60) + &"</a>".repeat(60);
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\">]><a>&b;</a>";
        for text in
            ["", "x", "<a>", "<a></b>", "<a/><a/>", "<a>&nbsp;</a>", "<a b='></a>", "<1/>", &deep, bomb]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
