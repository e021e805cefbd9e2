//! Rings of links: which come to rest, and which are refused.

use super::super::rings::{Flow, Place, restless};

/// `ab: A.x -> B.x`, with `=` for a computed field.
fn flows(text: &str) -> Vec<Flow> {
    let place = |text: &str| {
        let (system, field) = text.split_once('.').expect("system.field");
        Place { system: system.into(), stream: "t".into(), field: field.into() }
    };
    let mut flows = Vec::new();
    for line in text.split(',').map(str::trim).filter(|line| !line.is_empty()) {
        let (link, way) = line.split_once(": ").expect("link: way");
        let parts: Vec<&str> = way.split(' ').collect();
        let [from, arrow, to] = parts[..] else { panic!("{way}") };
        let mut add = |from: &str, to: &str, settles| {
            flows.push(Flow { link: link.into(), from: place(from), to: place(to), settles });
        };
        match arrow {
            "->" => add(from, to, true),
            "<>" => {
                add(from, to, true);
                add(to, from, true);
            }
            "=>" => add(from, to, false),
            // Computed one way, copied back.
            "=<" => {
                add(from, to, false);
                add(to, from, true);
            }
            other => panic!("{other}"),
        }
    }
    flows
}

#[test]
fn rings_that_rest_and_rings_that_do_not() {
    // (the link that is opened, those that run, what it is refused for, why)
    let cases = [
        ("ca: C.x -> A.x", "ab: A.x -> B.x, bc: B.x -> C.x", "", "copies find themselves there already"),
        ("ca: C.x <> A.x", "ab: A.x <> B.x, bc: B.x <> C.x", "", "and both ways"),
        ("ab: A.x => B.x", "", "", "one link does not send its own write back"),
        ("ab: A.x =< B.x", "ac: A.x <> C.x, cd: C.x <> D.x", "", "a star and a chain are no ring"),
        ("ca: C.x -> A.x", "ab: A.x => B.x, bc: B.x -> C.x", "ab computes x", "longer each time"),
        ("ab: A.x => B.x", "bc: B.x -> C.x, ca: C.x -> A.x", "ab computes x", "whichever is opened last"),
        ("ca: C.x <> A.x", "ab: A.x =< B.x, bc: B.x <> C.x", "ab computes x", "and both ways"),
        ("two: B.x -> A.x", "one: A.x => B.x", "one computes x", "two links between the same streams"),
        ("ab: A.x => B.y", "bc: B.y -> C.x, ca: C.x -> A.z", "", "what comes back is not read again"),
        (
            "ca: C.x -> A.y",
            "ab: A.x -> B.x, ab: A.y -> B.y, bc: B.x -> C.x, bc: B.y -> C.y, ca: C.y -> A.x",
            "chase",
            "two fields change places each time round",
        ),
    ];
    for (new, others, expected, why) in cases {
        // The pieces of one link are opened together.
        let name = new.split(':').next().expect("a name").to_owned();
        let (own, others): (Vec<Flow>, Vec<Flow>) =
            flows(&format!("{new}, {others}")).into_iter().partition(|flow| flow.link == name);
        let found = restless(&own, &others).unwrap_or_default();
        assert_eq!(found.is_empty(), expected.is_empty(), "{why}: {new} beside {others:?}: {found}");
        assert!(found.contains(expected), "{why}: {found}");
    }
}
