//! What is remembered of the mails: where each lies in the journal, and enough to find it. About 100 bytes a mail.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use serde::Serialize;
use utoipa::ToSchema;

use super::letter::Heading;
use crate::journal::Span;

/// Which mails are meant: those that fit everything that is given.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) to: Option<String>,
    pub(super) order_id: Option<String>,
    pub(super) message_id: Option<String>,
}

/// How many mails there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({ "total": 5, "distinct_message_ids": 4, "repeated": 1 }))]
pub(super) struct Summary {
    /// All mails.
    total: usize,
    /// How many different `Message-ID`s they have; a mail without one counts for none.
    distinct_message_ids: usize,
    /// How many `Message-ID`s came more than once.
    repeated: usize,
}

/// The mails in the order of their arrival.
///
/// Texts are kept as hashes with a key of this process: two different texts are taken for the same once in 2^64.
#[derive(Debug, Default)]
pub(super) struct Index {
    hasher: RandomState,
    mails: Vec<Indexed>,
    message_ids: HashMap<u64, u32>,
    repeated: usize,
}

#[derive(Debug)]
struct Indexed {
    span: Span,
    to: Box<[u64]>,
    order_id: u64,
    message_id: u64,
}

impl Index {
    /// Adds a mail.
    pub(super) fn push(&mut self, heading: &Heading, span: Span) {
        let message_id = self.hash(heading.message_id.as_deref());
        if heading.message_id.is_some() {
            let times = self.message_ids.entry(message_id).or_default();
            *times = times.saturating_add(1);
            self.repeated += usize::from(*times == 2);
        }
        let to = heading.to.iter().map(|to| self.hash_address(to)).collect();
        let order_id = self.hash(heading.order_id.as_deref());
        self.mails.push(Indexed { span, to, order_id, message_id });
    }

    /// Where the mail with this number lies; the first one is number 1.
    pub(super) fn get(&self, number: usize) -> Option<Span> {
        self.mails.get(number.checked_sub(1)?).map(|mail| mail.span)
    }

    /// The numbers and places of the wanted mails, oldest first.
    pub(super) fn find(&self, wanted: &Wanted) -> impl Iterator<Item = (usize, Span)> {
        let to = wanted.to.as_deref().map(|to| self.hash_address(to));
        let order_id = wanted.order_id.as_deref().map(|id| self.hash(Some(id)));
        let message_id =
            wanted.message_id.as_deref().map(|id| self.hash(Some(id.trim_matches(['<', '>']))));
        let fits = move |mail: &Indexed| {
            to.is_none_or(|to| mail.to.contains(&to))
                && order_id.is_none_or(|id| mail.order_id == id)
                && message_id.is_none_or(|id| mail.message_id == id)
        };
        let numbered = self.mails.iter().enumerate();
        numbered.filter(move |(_, mail)| fits(mail)).map(|(index, mail)| (index + 1, mail.span))
    }

    /// How many there are.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            total: self.mails.len(),
            distinct_message_ids: self.message_ids.len(),
            repeated: self.repeated,
        }
    }

    fn hash(&self, text: Option<&str>) -> u64 {
        self.hasher.hash_one(text)
    }

    /// Addresses are compared without regard to case, as most mail servers do.
    fn hash_address(&self, address: &str) -> u64 {
        self.hash(Some(&address.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use contracts::Timestamp;

    use super::*;

    fn index(mails: &[(&str, Option<&str>, Option<&str>)]) -> Index {
        let mut index = Index::default();
        for (offset, (to, order_id, message_id)) in (0..).zip(mails) {
            let heading = Heading {
                message_id: message_id.map(str::to_owned),
                from: String::new(),
                to: to.split(',').map(str::to_owned).collect(),
                subject: None,
                received_at: Timestamp::from_micros(0),
                size: 0,
                order_id: order_id.map(str::to_owned),
            };
            index.push(&heading, Span { offset, length: 0 });
        }
        index
    }

    fn numbers(index: &Index, wanted: &Wanted) -> Vec<usize> {
        index.find(wanted).map(|(number, _)| number).collect()
    }

    #[test]
    fn mails_are_found_by_what_is_given() {
        let index = index(&[
            ("ada@x", Some("1"), Some("a")),
            ("ada@x,bob@x", Some("2"), Some("b")),
            ("bob@x", None, None),
        ]);
        let to = |to: &str| Wanted { to: Some(to.to_owned()), ..Wanted::default() };
        assert_eq!(numbers(&index, &Wanted::default()), [1, 2, 3]);
        assert_eq!(numbers(&index, &to("ADA@x")), [1, 2]);
        assert_eq!(numbers(&index, &to("bob@x")), [2, 3]);
        assert_eq!(numbers(&index, &to("eve@x")), [0; 0]);
        let order = Wanted { order_id: Some("2".to_owned()), ..to("ada@x") };
        assert_eq!(numbers(&index, &order), [2]);
        let message = Wanted { message_id: Some("<a>".to_owned()), ..Wanted::default() };
        assert_eq!(numbers(&index, &message), [1]);
        assert_eq!(index.get(0), None);
        assert_eq!(index.get(3), Some(Span { offset: 2, length: 0 }));
        assert_eq!(index.get(4), None);
    }

    #[test]
    fn repeats_are_counted_by_message_id() {
        let a = ("ada@x", None, Some("a"));
        let index = index(&[a, a, a, ("ada@x", None, Some("b")), ("ada@x", None, None)]);
        assert_eq!(index.summary(), Summary { total: 5, distinct_message_ids: 2, repeated: 1 });
    }
}
