//! What a history of meetings must be like.
//!
//! As many clients take part as it takes parties, so nobody is let through unless each of the others
//! has come in the meantime: each call that was let through has a call of each other client beside
//! it, and each of these lets that client through once only.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Moments, one behind the other.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Through,
    /// It was told that it did not come through, and nobody can have counted it.
    Kept,
    /// It may have been counted, and may still be: it gave up, or lost its session.
    Unknown,
    /// It may have been counted, and cannot be any more.
    Settled,
}

/// One call of a client, from when it was made until it was known to have ended.
#[derive(Clone, Debug)]
pub struct Call {
    pub start: u64,
    pub ended: u64,
    pub end: End,
    /// Of those that were let through by a double barrier: its round, when it began to leave or was
    /// lost, and when it was told that all are out.
    pub inside: Option<Stay>,
}

#[derive(Clone, Debug)]
pub struct Stay {
    pub round: i64,
    pub left: u64,
    pub out: Option<u64>,
}

/// The calls of each client, in their order.
#[derive(Debug, Default)]
pub struct History {
    pub clock: Clock,
    calls: Mutex<Vec<Vec<Call>>>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub calls: usize,
    pub through: usize,
    pub kept: usize,
    pub unknown: usize,
    /// Whoever came through without somebody.
    pub alone: Vec<String>,
    /// Whoever was told that all are out while somebody was not.
    pub early: Vec<String>,
}

impl History {
    pub fn of(clients: usize) -> History {
        History { calls: Mutex::new(vec![Vec::new(); clients]), ..History::default() }
    }

    pub fn called(&self, client: usize, call: Call) {
        self.calls.lock().unwrap()[client].push(call);
    }

    pub fn judge(&self) -> Verdict {
        let calls = self.calls.lock().unwrap();
        let mut verdict = Verdict::default();
        for call in calls.iter().flatten() {
            verdict.calls += 1;
            match call.end {
                End::Through => verdict.through += 1,
                End::Kept => verdict.kept += 1,
                End::Unknown | End::Settled => verdict.unknown += 1,
            }
        }
        for (client, own) in calls.iter().enumerate() {
            for (other, theirs) in calls.iter().enumerate().filter(|(other, _)| *other != client) {
                alone(own, theirs, |call| {
                    let near = |one: &&Call| one.ended + 50 > call.start && one.start < call.ended;
                    let theirs: Vec<_> = theirs.iter().filter(near).collect();
                    let own: Vec<_> = own.iter().filter(near).collect();
                    verdict.alone.push(format!(
                        "client {client} without client {other}: {call:?}, of {own:?}, near {theirs:?}"
                    ));
                });
                early(own, theirs, |call, stay| {
                    verdict.early.push(format!("client {client}: {call:?}, {other}: {stay:?}"));
                });
            }
        }
        verdict
    }
}

/// Each call that was let through has one of the other beside it that no earlier one has.
fn alone(own: &[Call], theirs: &[Call], mut tell: impl FnMut(&Call)) {
    let mut rest = theirs.iter().enumerate();
    for call in own.iter().filter(|call| call.end == End::Through) {
        let beside = |(at, other): (usize, &Call)| {
            // What was given up may count until its node is gone, which its owner's next call needs:
            // before that it is kept out.
            let until = match other.end {
                End::Through | End::Settled => other.ended,
                End::Kept => return false,
                End::Unknown => {
                    let mut next = theirs[at + 1..].iter().filter(|next| next.end != End::Kept);
                    next.next().map_or(u64::MAX, |next| next.ended)
                }
            };
            until > call.start
        };
        let found = rest.clone().find(|(at, other)| beside((*at, other)));
        match found {
            Some((at, other)) if other.start < call.ended => {
                while rest.next().is_some_and(|(passed, _)| passed < at) {}
            }
            _ => tell(call),
        }
    }
}

/// Whoever is out is so behind the others of its round.
fn early(own: &[Call], theirs: &[Call], mut tell: impl FnMut(&Call, &Stay)) {
    for call in own {
        let Some(Stay { round, out: Some(out), .. }) = call.inside else { continue };
        for stay in theirs.iter().filter_map(|other| other.inside.as_ref()) {
            if stay.round == round && stay.left > out {
                tell(call, stay);
            }
        }
    }
}

impl Verdict {
    pub fn violations(&self) -> usize {
        self.alone.len() + self.early.len()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { calls, through, kept, unknown, alone, early } = self;
        let (alone, early) = (alone.len(), early.len());
        write!(
            f,
            "{calls} calls: {through} through, {kept} kept out, {unknown} unknown; {alone} alone, {early} out early"
        )
    }
}

#[test]
fn who_passes_twice_beside_one_call_of_another_is_found() {
    let call = |start, ended, end| Call { start, ended, end, inside: None };
    let judge = |own: Vec<Call>, theirs: Vec<Call>| {
        let history = History { calls: Mutex::new(vec![own, theirs]), ..History::default() };
        history.judge().alone.len()
    };
    let (one, two) = (call(0, 10, End::Through), call(11, 20, End::Through));
    // One behind the other, both beside one.
    assert_eq!(judge(vec![one.clone(), two.clone()], vec![call(1, 15, End::Through)]), 1);
    let both = vec![call(1, 12, End::Through), call(13, 21, End::Through)];
    assert_eq!(judge(vec![one.clone(), two.clone()], both), 0);
    // Who was kept out lets nobody through; of who gave up nobody knows.
    assert_eq!(judge(vec![one.clone()], vec![call(1, 5, End::Kept)]), 1);
    assert_eq!(judge(vec![one.clone()], vec![call(1, 5, End::Unknown)]), 0);
    let gave_up = vec![call(1, 5, End::Unknown), call(6, 8, End::Through)];
    assert_eq!(judge(vec![two.clone()], gave_up), 2);
    assert_eq!(judge(vec![two], vec![call(1, 5, End::Unknown), call(6, 8, End::Kept)]), 0);
    // Nor does who comes behind.
    assert_eq!(judge(vec![one], vec![call(11, 12, End::Through)]), 2);
}
