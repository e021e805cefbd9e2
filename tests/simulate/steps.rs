//! The steps of a history. They are drawn before it begins, so that one that fails can be played
//! again with fewer of them.

use record_sync::engine::record::{Direction, Side};

use crate::asks::{ANOTHER_DAY_MS, Wish};
use crate::chance::Chance;
use crate::handed::Operation;
use crate::layout::Reshape;
use crate::pushes::Push;
use crate::setup::{FIELDS, KEYS, Policy, Rules, Setup};

/// What somebody writes into a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// A token that no other edit writes.
    Token,
    /// The same, dressed in spaces and capitals.
    Dressed,
    /// The same as a number that no float can hold.
    Long,
    Null,
    Empty,
    /// What some systems can't stomach.
    Poison,
    /// What the other side shows.
    SameAsOther,
}

/// Trouble that a system makes for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 429 with a `Retry-After`.
    Throttled,
    /// 503.
    Unavailable,
    /// 401.
    Unauthorised,
    /// The call is carried out and no answer comes.
    LostReply,
    /// No answer comes, and nothing was done.
    LostRequest,
    /// Some records of a batch are written, others not.
    Partial,
    /// A read that should be whole ends early and says it is whole.
    ShortRead,
    /// Pages come twice.
    Twice,
}

pub const TROUBLES: [Trouble; 8] = [
    Trouble::Throttled,
    Trouble::Unavailable,
    Trouble::Unauthorised,
    Trouble::LostReply,
    Trouble::LostRequest,
    Trouble::Partial,
    Trouble::ShortRead,
    Trouble::Twice,
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Wait(u64),
    Insert(Side, u8),
    Edit(Side, u8, u8, Fill),
    Delete(Side, u8),
    /// Calls to this side meet this trouble so often of a hundred, until the next quiet point.
    Trouble(Side, Trouble, u8),
    Rules(Rules),
    Reshape(Side, Reshape),
    Wish(Wish),
    Push(Push),
    /// The process stands still for so many milliseconds: nothing of it moves, time does.
    StandStill(u64),
    /// The process dies at the so many-th await from here, and stays dead for that many steps.
    Crash {
        after: u32,
        down: u8,
    },
    /// The process ends in order and starts again.
    Restart {
        down: u8,
    },
    /// Faults end, everything comes to rest, and the oracle looks.
    Quiet,
}

/// What a history has most of: bugs hide where few things of one kind meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Theme {
    Even,
    Calm,
    /// Records come and go.
    Turnover,
    Crashes,
    /// People ask for this and that.
    Wishes,
    /// The same trouble again and again.
    Trouble(Trouble),
}

#[derive(Clone, Copy)]
enum Kind {
    Wait,
    Insert,
    Edit,
    Delete,
    Trouble,
    Crash,
    Restart,
    Rules,
    Reshape,
    Wish,
}

impl Theme {
    fn draw(chance: &mut Chance) -> Self {
        let trouble = Self::Trouble(chance.pick(&TROUBLES));
        chance.weighted(&[
            (32, Self::Even),
            (10, Self::Calm),
            (8, Self::Wishes),
            (20, Self::Turnover),
            (15, Self::Crashes),
            (15, trouble),
        ])
    }

    /// How often each kind of step comes.
    fn weights(self) -> [(u64, Kind); 10] {
        let [wait, insert, edit, delete, trouble, crash, restart, rules, reshape, wish] = match self {
            Self::Even => [32, 10, 35, 9, 8, 4, 1, 1, 2, 3],
            Self::Calm => [40, 11, 36, 10, 0, 0, 2, 1, 1, 2],
            Self::Turnover => [24, 22, 22, 24, 4, 2, 1, 1, 1, 2],
            Self::Crashes => [28, 10, 32, 9, 6, 12, 2, 1, 1, 2],
            Self::Wishes => [24, 10, 24, 8, 6, 3, 1, 1, 1, 22],
            Self::Trouble(_) => [28, 12, 32, 10, 14, 2, 1, 1, 1, 2],
        };
        [
            (wait, Kind::Wait),
            (insert, Kind::Insert),
            (edit, Kind::Edit),
            (delete, Kind::Delete),
            (trouble, Kind::Trouble),
            (crash, Kind::Crash),
            (restart, Kind::Restart),
            (rules, Kind::Rules),
            (reshape, Kind::Reshape),
            (wish, Kind::Wish),
        ]
    }
}

/// Draws the steps of a history.
pub fn draw(setup: &Setup, count: usize) -> Vec<Step> {
    let mut chance = Chance::new(setup.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0xABCD);
    let chance = &mut chance;
    // A few keys get most of the work, so that things meet.
    let hot = chance.between(1, 4) as u8;
    let theme = Theme::draw(chance);
    let mut steps = Vec::with_capacity(count + 1);
    steps.extend(at_the_filling(setup));
    let mut pushing = Pushing::new(setup.seed, hot);
    for at in 0..count {
        if at % 50 == 49 {
            steps.push(Step::Quiet);
            continue;
        }
        let side = chance.pick(&Side::BOTH);
        let key =
            if chance.percent(60) { chance.below(u64::from(hot)) } else { chance.below(u64::from(KEYS)) }
                as u8;
        // Who has just asked for something is the one to think twice.
        if let Some(Step::Wish(Wish::Sync { .. } | Wish::Hurry)) = steps.last()
            && chance.percent(40)
        {
            steps.push(Step::Wish(chance.pick(&[Wish::Hurry, Wish::Cancel, Wish::Cancel])));
            continue;
        }
        steps.push(match chance.weighted(&theme.weights()) {
            Kind::Wait => Step::Wait(wait(chance)),
            Kind::Insert => Step::Insert(side, key),
            Kind::Edit => Step::Edit(side, key, chance.below(FIELDS.len() as u64) as u8, fill(chance)),
            Kind::Delete => Step::Delete(side, key),
            Kind::Trouble => {
                let any = chance.pick(&TROUBLES);
                let trouble = if let Theme::Trouble(trouble) = theme { trouble } else { any };
                Step::Trouble(side, trouble, chance.pick(&[5, 30, 90]))
            }
            Kind::Crash => {
                Step::Crash { after: chance.between(0, 40) as u32, down: chance.pick(&[0, 0, 1, 4]) }
            }
            Kind::Restart => Step::Restart { down: chance.pick(&[0, 2]) },
            Kind::Rules => Step::Rules(Rules {
                policy: chance.pick(&[Policy::Newest, Policy::A, Policy::B]),
                wide: chance.flip(),
            }),
            Kind::Reshape => Step::Reshape(side, reshape(chance)),
            Kind::Wish => Step::Wish(wish(chance, side.outward(), key)),
        });
        steps.extend(pushing.next());
    }
    steps.push(Step::Quiet);
    steps
}

/// Waits until an empty file has been filled, and edits what it was filled with.
fn at_the_filling(setup: &Setup) -> Vec<Step> {
    if !setup.natures[1].loads {
        return Vec::new();
    }
    let chance = &mut Chance::new(setup.seed ^ 0xF111);
    let edits = (0..3).map(|_| {
        let side = chance.weighted(&[(3, Side::A), (1, Side::B)]);
        let key = chance.below(u64::from(setup.filled[0])) as u8;
        let edit = Step::Edit(side, key, chance.below(FIELDS.len() as u64) as u8, Fill::Token);
        if chance.percent(20) { Step::Delete(side, key) } else { edit }
    });
    std::iter::once(Step::Wait(4_000)).chain(edits).collect()
}

/// What applications hand in: drawn from numbers of its own, so that a history without pushes is what it
/// would be if there were none.
struct Pushing {
    chance: Chance,
    /// Steps of a hundred that such a one comes behind.
    share: u64,
    hot: u64,
}

impl Pushing {
    fn new(seed: u64, hot: u8) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(0x9E6C_63D0_876A_9A47) ^ 0x9054);
        let share = chance.weighted(&[(70, 0), (15, 4), (15, 20)]);
        Self { chance, share, hot: u64::from(hot) }
    }

    fn next(&mut self) -> Option<Step> {
        let chance = &mut self.chance;
        if !chance.percent(self.share) {
            return None;
        }
        let keys = if chance.percent(60) { self.hot } else { u64::from(KEYS) };
        let hand = Push::Hand {
            side: chance.pick(&Side::BOTH),
            key: chance.below(keys) as u8,
            count: chance.pick(&[1, 1, 1, 3]),
            operation: chance.weighted(&[
                (2, Operation::Create),
                (5, Operation::Update),
                (2, Operation::Delete),
            ]),
            fields: chance.between(1, 7) as u8,
            fill: match fill(chance) {
                // Nobody could tell by its values whose a write is.
                Fill::SameAsOther => Fill::Token,
                fill => fill,
            },
        };
        if chance.percent(6) {
            return Some(Step::StandStill(chance.between(1_000, 40_000)));
        }
        Some(Step::Push(chance.weighted(&[
            (16, hand),
            (2, Push::Cancel),
            (1, Push::Hurry),
            (1, Push::Again),
        ])))
    }
}

fn fill(chance: &mut Chance) -> Fill {
    chance.weighted(&[
        (74, Fill::Token),
        (4, Fill::Long),
        (10, Fill::Dressed),
        (3, Fill::Null),
        (2, Fill::Empty),
        (2, Fill::Poison),
        (5, Fill::SameAsOther),
    ])
}

fn reshape(chance: &mut Chance) -> Reshape {
    let field = chance.below(FIELDS.len() as u64) as u8;
    chance.weighted(&[
        (3, Reshape::Turn),
        (3, Reshape::Extra),
        (3, Reshape::Drop(field)),
        (2, Reshape::PutBack),
        (1, Reshape::Anew(field)),
    ])
}

fn wish(chance: &mut Chance, direction: Direction, key: u8) -> Wish {
    let in_ms = chance.pick(&[0, 0, 0, 3_000, ANOTHER_DAY_MS]);
    let sync = Wish::Sync { direction, key, in_ms, urgent: chance.flip() };
    chance.weighted(&[(12, sync), (4, Wish::Cancel), (2, Wish::Hurry), (2, Wish::Again)])
}

fn wait(chance: &mut Chance) -> u64 {
    let (low, high) = chance.pick(&[(0, 3), (1, 50), (50, 1_000), (1_000, 6_000)]);
    chance.between(low, high)
}
