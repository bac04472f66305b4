//! Entries as records of a topic: what an entry says stands in headers, so that the log is read
//! without its bodies being understood.
//!
//! A parked message keeps its key, body and headers, and has the headers of a dead letter beside
//! them; `X-Parking` and the headers below tell the fold what it needs. The names are those of SPEC
//! section 13.

use crate::{Action, Answer, Cause, Ending, Entry, Position, Refusal, Work};
use buslane_core::{Headers, HeadersBuilder, broker::header};
use bytes::Bytes;
use std::{fmt::Display, str::FromStr};

/// What the record is: `claim`, `parked`, `resolved`, `failed`, `not-first`, `request` or `answer`.
pub const KIND: &str = "X-Parking";
/// The position of the writer's claim; in a claim, a number that is the writer's own.
pub const CLAIM: &str = "X-Parking-Claim";
/// The position of the entry that this one is about.
pub const POSITION: &str = "X-Parking-Position";
/// How a message ended: `handled`, `skipped` or `discarded`.
pub const ENDING: &str = "X-Parking-Ending";
/// What an operator asks for: `redrive`, `skip`, `discard` or `edit`.
pub const ACTION: &str = "X-Parking-Action";
/// The answer to a request: `begun`, `edited`, `not-parked`, `over` or `busy`.
pub const ANSWER: &str = "X-Parking-Answer";
/// What is left to do with a key: `redrive`, `skip`, `discard`; absent if that is nothing.
pub const WORK: &str = "X-Parking-Work";
/// How many messages are left to discard.
pub const LEFT: &str = "X-Parking-Left";
/// The origin of the message that a work skips.
pub const SKIP: &str = "X-Parking-Skip";
/// Why a message is parked: `failed` or `behind`.
pub const CAUSE: &str = "X-Parked-Cause";
/// How many times a message has failed in a redrive.
pub const REDRIVES: &str = "X-Redrives";

/// Why a record of a parking log is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It has no key, although its kind needs one.
    #[error("not an entry of a parking log: no key")]
    NoKey,
    /// A header is missing, or its value means nothing.
    #[error("not an entry of a parking log: the header {0} is missing or not valid")]
    Header(&'static str),
}

impl Entry {
    /// Appends the headers that say it. The record's key is that of [`Entry::key`].
    pub fn write(&self, headers: &mut HeadersBuilder) {
        let mut push = |name: &str, value: &dyn Display| {
            headers.push(name, value.to_string());
        };
        push(KIND, &self.kind());
        if let Some(claim) = self.claim() {
            push(CLAIM, &claim);
        }
        match self {
            Self::Claim { nonce } => push(CLAIM, nonce),
            Self::Parked { origin, cause, .. } => {
                push(header::ORIGINAL_OFFSET, origin);
                push(CAUSE, &cause.word());
            }
            Self::Resolved { position, origin, ending, work, .. } => {
                push(POSITION, position);
                push(header::ORIGINAL_OFFSET, origin);
                push(ENDING, &ending.word());
                write_work(work.as_ref(), &mut push);
            }
            Self::FailedAgain { position, origin, redrives, .. } => {
                push(POSITION, position);
                push(header::ORIGINAL_OFFSET, origin);
                push(REDRIVES, redrives);
            }
            Self::NotFirst { .. } => {}
            Self::Request { action, .. } => {
                push(ACTION, &action.word());
                if let Action::Skip { origin } | Action::Edit { origin } = action {
                    push(header::ORIGINAL_OFFSET, origin);
                }
            }
            Self::Answer { request, answer, .. } => {
                push(POSITION, request);
                push(ANSWER, &answer.word());
                match answer {
                    Answer::Begun(work) => write_work(Some(work), &mut push),
                    Answer::Edited { origin } => push(header::ORIGINAL_OFFSET, origin),
                    Answer::Refused(_) => {}
                }
            }
        }
    }

    /// Reads the entry that a record says. Of repeated headers the last one counts: a message that
    /// is parked for the second time keeps those of the first.
    ///
    /// # Errors
    /// The record is none, which an owner reports and passes by.
    pub fn read(key: Option<&Bytes>, headers: &Headers) -> Result<Self, EntryError> {
        let said = Said(headers);
        let kind = said.text(KIND)?;
        if kind == "claim" {
            return Ok(Self::Claim { nonce: said.number(CLAIM)? });
        }
        let key = key.cloned().ok_or(EntryError::NoKey)?;
        let claim = || said.number::<Position>(CLAIM);
        Ok(match kind {
            "parked" => Self::Parked {
                claim: claim()?,
                key,
                origin: said.number(header::ORIGINAL_OFFSET)?,
                cause: said.one_of(CAUSE, &[Cause::Failed, Cause::Behind], Cause::word)?,
            },
            "resolved" => Self::Resolved {
                claim: claim()?,
                key,
                position: said.number(POSITION)?,
                origin: said.number(header::ORIGINAL_OFFSET)?,
                ending: said.one_of(
                    ENDING,
                    &[Ending::Handled, Ending::Skipped, Ending::Discarded],
                    Ending::word,
                )?,
                work: said.work()?,
            },
            "failed" => Self::FailedAgain {
                claim: claim()?,
                key,
                position: said.number(POSITION)?,
                origin: said.number(header::ORIGINAL_OFFSET)?,
                redrives: said.number(REDRIVES)?,
            },
            "not-first" => Self::NotFirst { claim: claim()?, key },
            "request" => Self::Request { key, action: said.action()? },
            "answer" => Self::Answer {
                claim: claim()?,
                key,
                request: said.number(POSITION)?,
                answer: said.answer()?,
            },
            _ => return Err(EntryError::Header(KIND)),
        })
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Parked { .. } => "parked",
            Self::Resolved { .. } => "resolved",
            Self::FailedAgain { .. } => "failed",
            Self::NotFirst { .. } => "not-first",
            Self::Request { .. } => "request",
            Self::Answer { .. } => "answer",
        }
    }
}

fn write_work(work: Option<&Work>, push: &mut dyn FnMut(&str, &dyn Display)) {
    let Some(work) = work else { return };
    push(WORK, &work.word());
    match work {
        Work::Redrive => {}
        Work::Skip { origin } => push(SKIP, origin),
        Work::Discard { left } => push(LEFT, left),
    }
}

impl Cause {
    /// As the header says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Behind => "behind",
        }
    }
}

impl Ending {
    /// As the header says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Skipped => "skipped",
            Self::Discarded => "discarded",
        }
    }
}

impl Action {
    /// As the header says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Skip { .. } => "skip",
            Self::Discard => "discard",
            Self::Edit { .. } => "edit",
        }
    }
}

impl Answer {
    /// As the header says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Begun(_) => "begun",
            Self::Edited { .. } => "edited",
            Self::Refused(refusal) => refusal.word(),
        }
    }
}

impl Refusal {
    /// As the header says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotParked => "not-parked",
            Self::Over => "over",
            Self::Busy => "busy",
        }
    }
}

impl Work {
    /// As the header says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Skip { .. } => "skip",
            Self::Discard { .. } => "discard",
        }
    }
}

struct Said<'a>(&'a Headers);

impl<'a> Said<'a> {
    fn text(&self, name: &'static str) -> Result<&'a str, EntryError> {
        let value = self.0.last(name).and_then(|value| std::str::from_utf8(value).ok());
        value.ok_or(EntryError::Header(name))
    }

    fn number<T: FromStr>(&self, name: &'static str) -> Result<T, EntryError> {
        self.text(name)?.parse().map_err(|_| EntryError::Header(name))
    }

    fn one_of<T: Copy>(
        &self,
        name: &'static str,
        all: &[T],
        word: fn(T) -> &'static str,
    ) -> Result<T, EntryError> {
        let text = self.text(name)?;
        all.iter().copied().find(|one| word(*one) == text).ok_or(EntryError::Header(name))
    }

    fn action(&self) -> Result<Action, EntryError> {
        Ok(match self.text(ACTION)? {
            "redrive" => Action::Redrive,
            "skip" => Action::Skip { origin: self.number(header::ORIGINAL_OFFSET)? },
            "discard" => Action::Discard,
            "edit" => Action::Edit { origin: self.number(header::ORIGINAL_OFFSET)? },
            _ => return Err(EntryError::Header(ACTION)),
        })
    }

    fn answer(&self) -> Result<Answer, EntryError> {
        Ok(match self.text(ANSWER)? {
            "begun" => Answer::Begun(self.work()?.ok_or(EntryError::Header(WORK))?),
            "edited" => Answer::Edited { origin: self.number(header::ORIGINAL_OFFSET)? },
            _ => Answer::Refused(self.one_of(
                ANSWER,
                &[Refusal::NotParked, Refusal::Over, Refusal::Busy],
                Refusal::word,
            )?),
        })
    }

    fn work(&self) -> Result<Option<Work>, EntryError> {
        if self.0.last(WORK).is_none() {
            return Ok(None);
        }
        Ok(Some(match self.text(WORK)? {
            "redrive" => Work::Redrive,
            "skip" => Work::Skip { origin: self.number(SKIP)? },
            "discard" => Work::Discard { left: self.number(LEFT)? },
            _ => return Err(EntryError::Header(WORK)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let key = || prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from);
        let place = || (any::<u64>(), key(), any::<u64>(), any::<u64>());
        let action = prop_oneof![
            Just(Action::Redrive),
            any::<u64>().prop_map(|origin| Action::Skip { origin }),
            Just(Action::Discard),
            any::<u64>().prop_map(|origin| Action::Edit { origin }),
        ];
        let ending =
            prop_oneof![Just(Ending::Handled), Just(Ending::Skipped), Just(Ending::Discarded)];
        let work = || {
            prop_oneof![
                Just(Work::Redrive),
                any::<u64>().prop_map(|origin| Work::Skip { origin }),
                any::<u64>().prop_map(|left| Work::Discard { left }),
            ]
        };
        let answer = prop_oneof![
            work().prop_map(Answer::Begun),
            any::<u64>().prop_map(|origin| Answer::Edited { origin }),
            prop_oneof![Just(Refusal::NotParked), Just(Refusal::Over), Just(Refusal::Busy)]
                .prop_map(Answer::Refused),
        ];
        prop_oneof![
            any::<u128>().prop_map(|nonce| Entry::Claim { nonce }),
            (place(), prop_oneof![Just(Cause::Failed), Just(Cause::Behind)]).prop_map(
                |((claim, key, origin, _), cause)| Entry::Parked { claim, key, origin, cause }
            ),
            (place(), ending, prop::option::of(work())).prop_map(
                |((claim, key, position, origin), ending, work)| {
                    Entry::Resolved { claim, key, position, origin, ending, work }
                }
            ),
            (place(), any::<u32>()).prop_map(|((claim, key, position, origin), redrives)| {
                Entry::FailedAgain { claim, key, position, origin, redrives }
            }),
            (any::<u64>(), key()).prop_map(|(claim, key)| Entry::NotFirst { claim, key }),
            (key(), action).prop_map(|(key, action)| Entry::Request { key, action }),
            (place(), answer).prop_map(|((claim, key, request, _), answer)| {
                Entry::Answer { claim, key, request, answer }
            }),
        ]
    }

    proptest! {
        #[test]
        fn inv_an_entry_makes_the_round_trip(entry in entry(), before in entry()) {
            let mut headers = Headers::builder();
            // A message that was parked before keeps those headers.
            if matches!((&entry, &before), (Entry::Parked { .. }, Entry::Parked { .. })) {
                before.write(&mut headers);
            }
            entry.write(&mut headers);
            prop_assert_eq!(Entry::read(entry.key(), &headers.build()), Ok(entry));
        }

        #[test]
        fn inv_no_record_panics(list in prop::collection::vec(
            ("(X-Parking|X-Parking-(Claim|Position|Action|Answer|Work|Left)|X-Original-Offset|[a-z]{0,3})", "(claim|parked|resolved|failed|request|answer|begun|discard|skip|[0-9]{0,25}|[a-z]{0,3})"), 0..8
        ), key in prop::option::of(prop::collection::vec(any::<u8>(), 0..4))) {
            let headers: Headers = list.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let _ = Entry::read(key.map(Bytes::from).as_ref(), &headers);
        }
    }

    #[test]
    fn inv_what_is_no_entry_is_named() {
        let read = |key: Option<&'static str>, list: &[(&str, &str)]| {
            let headers: Headers =
                list.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            Entry::read(key.map(Bytes::from).as_ref(), &headers).expect_err("no entry")
        };
        assert_eq!(read(Some("k"), &[]), EntryError::Header(KIND));
        assert_eq!(read(Some("k"), &[(KIND, "other")]), EntryError::Header(KIND));
        assert_eq!(read(None, &[(KIND, "parked"), (CLAIM, "1")]), EntryError::NoKey);
        assert_eq!(read(Some("k"), &[(KIND, "parked")]), EntryError::Header(CLAIM));
        assert_eq!(read(Some("k"), &[(KIND, "parked"), (CLAIM, "-1")]), EntryError::Header(CLAIM));
        assert_eq!(
            read(Some("k"), &[(KIND, "request"), (ACTION, "skip")]),
            EntryError::Header(header::ORIGINAL_OFFSET)
        );
        assert_eq!(
            read(Some("k"), &[(KIND, "request"), (ACTION, "x")]),
            EntryError::Header(ACTION)
        );
    }
}
