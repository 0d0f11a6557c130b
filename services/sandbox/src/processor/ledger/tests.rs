use super::*;
use crate::processor::charge::Status;

#[derive(Default)]
struct Books {
    ledger: Ledger,
    journal: Vec<String>,
    now: i64,
}

impl Books {
    fn tick(&mut self) -> (Uuid, Timestamp) {
        self.now += 1;
        (Uuid::from_u128(self.now as u128), Timestamp::from_micros(self.now))
    }

    fn carry_out<A>(&mut self, decision: Decision<A>) -> A {
        if let Some(change) = decision.change {
            self.journal.push(serde_json::to_string(&change).unwrap());
            self.ledger.apply(change);
        }
        decision.answer
    }

    fn try_charge(
        &mut self,
        key: &str,
        charge: Charge,
        decline: Option<Reason>,
    ) -> Result<Receipt, KeyReused> {
        let (id, at) = self.tick();
        let decision = self.ledger.charge(key.parse().unwrap(), charge, decline, id, at)?;
        Ok(self.carry_out(decision))
    }

    fn charge(&mut self, key: &str, reference: &str) -> Receipt {
        self.try_charge(key, charge(100, reference), None).unwrap()
    }

    fn reverse(&mut self, key: &str) -> Outcome {
        let (id, at) = self.tick();
        let decision = self.ledger.reverse(key.parse().unwrap(), id, at);
        self.carry_out(decision)
    }

    fn totals(&self) -> (u64, u64, u64, i64) {
        let totals = self.ledger.totals();
        let net = totals.net.get("EUR").copied().unwrap_or(0);
        (totals.charges, totals.refunds, totals.charged_twice, net)
    }
}

fn charge(amount: i64, reference: &str) -> Charge {
    Charge {
        amount,
        currency: "EUR".to_owned(),
        card_token: "tok_visa".into(),
        reference: reference.into(),
    }
}

#[test]
fn the_same_key_charges_once_and_says_the_same() {
    let mut books = Books::default();
    let receipt = books.charge("k", "order");
    assert_eq!(receipt.status, Status::Succeeded);
    assert_eq!(books.charge("k", "order"), receipt);
    assert_eq!(books.totals(), (1, 0, 0, 100));
}

#[test]
fn the_same_key_with_another_body_is_refused() {
    let mut books = Books::default();
    books.charge("k", "order");
    books.try_charge("d", charge(100, "order"), Some(Reason::CardDeclined)).unwrap();
    for key in ["k", "d"] {
        assert!(books.try_charge(key, charge(101, "order"), None).is_err());
        assert!(books.try_charge(key, charge(100, "other"), None).is_err());
    }
    assert_eq!(books.totals(), (1, 0, 0, 100));
}

#[test]
fn a_charge_is_refunded_once_and_still_says_the_same() {
    let mut books = Books::default();
    let receipt = books.charge("k", "order");
    assert_eq!(books.reverse("k"), Outcome::Refunded);
    assert_eq!(books.reverse("k"), Outcome::Refunded);
    assert_eq!(books.charge("k", "order"), receipt);
    assert_eq!(books.totals(), (1, 1, 0, 0));
}

#[test]
fn a_key_reversed_before_its_charge_is_blocked_for_ever() {
    let mut books = Books::default();
    assert_eq!(books.reverse("k"), Outcome::Voided);
    let late = books.charge("k", "order");
    assert_eq!((late.status, late.reason), (Status::Declined, Some(Reason::Reversed)));
    assert_eq!(books.charge("k", "other"), late);
    assert_eq!(books.reverse("k"), Outcome::Voided);
    assert_eq!(books.totals(), (0, 0, 0, 0));
}

#[test]
fn a_declined_charge_stays_declined_and_is_voided_by_a_reversal() {
    let mut books = Books::default();
    let reason = Some(Reason::InsufficientFunds);
    let declined = books.try_charge("k", charge(100, "order"), reason).unwrap();
    assert_eq!((declined.status, declined.reason), (Status::Declined, reason));
    assert_eq!(books.charge("k", "order"), declined);
    assert_eq!(books.reverse("k"), Outcome::Voided);
    assert_eq!(books.charge("k", "order"), declined);
    assert_eq!(books.totals(), (0, 0, 0, 0));
}

#[test]
fn charged_twice_counts_references_with_more_than_one_open_charge() {
    let mut books = Books::default();
    for key in ["a", "b", "c"] {
        books.charge(key, "order");
    }
    books.charge("d", "other");
    assert_eq!(books.totals(), (4, 0, 1, 400));
    books.reverse("a");
    assert_eq!(books.totals(), (4, 1, 1, 300));
    books.reverse("b");
    assert_eq!(books.totals(), (4, 2, 0, 200));
    books.charge("e", "order");
    assert_eq!(books.totals(), (5, 2, 1, 300));
}

#[test]
fn a_reference_has_its_own_entries_and_totals() {
    let mut books = Books::default();
    books.charge("a", "order");
    books.charge("x", "other");
    books.charge("b", "order");
    books.reverse("a");
    let (entries, totals) = books.ledger.of("order");
    let keys: Vec<String> =
        entries.iter().map(|entry| serde_json::to_value(&entry.key).unwrap().to_string()).collect();
    assert_eq!(keys, [r#""a""#, r#""b""#]);
    assert!(entries[0].refunded_at.is_some() && entries[1].refunded_at.is_none());
    assert_eq!((totals.charges, totals.refunds, totals.charged_twice), (2, 1, 0));
    assert_eq!(totals.net["EUR"], 100);
    assert_eq!(books.ledger.of("unknown"), (vec![], Totals::default()));
}

#[test]
fn the_journal_tells_the_whole_story() {
    let mut books = Books::default();
    let declined = Some(Reason::CardDeclined);
    books.charge("a", "order");
    books.charge("b", "order");
    books.try_charge("c", charge(100, "order"), declined).unwrap();
    books.reverse("a");
    books.reverse("v");

    let mut replayed = Books::default();
    for line in &books.journal {
        replayed.ledger.apply(serde_json::from_str(line).unwrap());
    }
    replayed.now = 1_000;
    assert_eq!(replayed.totals(), books.totals());
    assert_eq!(replayed.ledger.entries(0, 10), books.ledger.entries(0, 10));
    for key in ["a", "b", "c", "v"] {
        assert_eq!(replayed.charge(key, "order"), books.charge(key, "order"), "{key}");
        assert_eq!(replayed.reverse(key), books.reverse(key), "{key}");
    }
}
