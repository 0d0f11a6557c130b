//! Keeping the books: what happened to many payments at once, with a handful of statements however many they are.

use std::collections::{BTreeMap, HashMap};

use contracts::{
    Cause, OrderId, PaymentDeclined, PaymentRefunded, PaymentTaken, PaymentVoided, Timestamp,
};
use runtime::Failure;
use store::Tx;

use crate::{
    payment::{Effect, Happened, Payment, Refused},
    store as sql,
};

/// Something that happened to the payment of an order.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) order_id: OrderId,
    pub(crate) happened: Happened,
    /// What it led to says that this was the reason.
    pub(crate) cause: Cause,
    /// Whether whoever caused it waits to hear how the payment stands, also when they were told before.
    pub(crate) answer: bool,
}

/// Why the books stay as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the payment of order {order_id}")]
    Refused {
        order_id: OrderId,
        #[source]
        refused: Refused,
    },
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => Self::Store(error),
            error @ Error::Refused { .. } => Self::Permanent(error.into()),
        }
    }
}

/// Something that is to be done about an entry, with the payment as it stood then.
#[derive(Debug, Clone)]
pub(crate) struct Duty {
    /// The entry's place in its batch.
    pub(crate) entry: usize,
    pub(crate) effect: Effect,
    pub(crate) payment: Payment,
}

/// The entries of a batch by order, with their places in it. In the order of the order ids: replicas that insert and lock
/// rows in one order never wait for each other in a circle.
type Accounts<'e> = BTreeMap<OrderId, Vec<(usize, &'e Entry)>>;

/// Enters what happened, and announces what it led to; what was and what is to be done.
///
/// # Errors
/// When an entry contradicts the books, or the database is unavailable.
pub(crate) async fn record(
    tx: &mut Tx,
    entries: &[Entry],
    now: Timestamp,
) -> Result<Vec<Duty>, Error> {
    let mut accounts = Accounts::new();
    for (place, entry) in entries.iter().enumerate() {
        accounts.entry(entry.order_id).or_default().push((place, entry));
    }
    // All inserts come before all locks, for the same reason as the order within each.
    let mut duties = open(tx, &mut accounts, now).await?;
    duties.extend(update(tx, &accounts, now).await?);
    for duty in &duties {
        if let Some(entry) = entries.get(duty.entry) {
            announce(tx, duty.effect, &duty.payment, &entry.cause)?;
        }
    }
    Ok(duties)
}

/// Opens the payments that nobody has heard of yet, in the state that their entries lead to, and takes them off the accounts. There
/// is nothing to lock for these, so the insert itself decides which they are.
async fn open(
    tx: &mut Tx,
    accounts: &mut Accounts<'_>,
    now: Timestamp,
) -> Result<Vec<Duty>, Error> {
    // An error here only says that this entry can't be the first.
    let (payments, duties): (Vec<_>, Vec<_>) = accounts
        .iter()
        .filter_map(|(order_id, entries)| {
            let (payment, duties) = fold(None, *order_id, entries, now).ok()?;
            Some((payment?, duties))
        })
        .unzip();
    let created = sql::create(tx, &payments).await?;
    let opened = payments.iter().zip(duties).filter(|(p, _)| created.contains(&p.order_id));
    Ok(opened
        .flat_map(|(payment, duties)| {
            accounts.remove(&payment.order_id);
            duties
        })
        .collect())
}

/// Locks the payments that exist, and changes those that their entries change.
async fn update(tx: &mut Tx, accounts: &Accounts<'_>, now: Timestamp) -> Result<Vec<Duty>, Error> {
    let order_ids: Vec<OrderId> = accounts.keys().copied().collect();
    let locked = sql::lock(tx, &order_ids).await?;
    let mut locked: HashMap<OrderId, Payment> =
        locked.into_iter().map(|payment| (payment.order_id, payment)).collect();
    let (mut changed, mut all_duties) = (Vec::new(), Vec::new());
    for (order_id, entries) in accounts {
        let before = locked.remove(order_id);
        let (after, duties) = fold(before.clone(), *order_id, entries, now)
            .map_err(|refused| Error::Refused { order_id: *order_id, refused })?;
        all_duties.extend(duties);
        if after != before {
            changed.extend(after);
        }
    }
    sql::save(tx, &changed).await?;
    Ok(all_duties)
}

/// What the entries make of one payment.
fn fold(
    mut payment: Option<Payment>,
    order_id: OrderId,
    entries: &[(usize, &Entry)],
    now: Timestamp,
) -> Result<(Option<Payment>, Vec<Duty>), Refused> {
    let mut duties = Vec::new();
    for (place, entry) in entries {
        let (after, effect) = Payment::after(payment, order_id, &entry.happened, now)?;
        let effect = effect.or_else(|| after.state.answer().filter(|_| entry.answer));
        duties.extend(effect.map(|effect| Duty { entry: *place, effect, payment: after.clone() }));
        payment = Some(after);
    }
    Ok((payment, duties))
}

/// Publishes the event that an effect asks for, if it asks for one.
///
/// # Errors
/// When the event can't be written.
pub(crate) fn announce(
    tx: &mut Tx,
    effect: Effect,
    payment: &Payment,
    cause: &Cause,
) -> store::Result<()> {
    let order_id = payment.order_id;
    let amount = payment.amount.clone();
    match effect {
        Effect::Charge | Effect::Reverse => return Ok(()),
        Effect::AnnounceTaken => {
            let charge_id = payment.charge_id.clone().unwrap_or_default();
            tx.publish(&PaymentTaken { order_id, amount, charge_id }, cause)
        }
        Effect::AnnounceDeclined => {
            let reason = payment.decline_reason.clone().unwrap_or_default();
            tx.publish(&PaymentDeclined { order_id, reason }, cause)
        }
        Effect::AnnounceRefunded => tx.publish(&PaymentRefunded { order_id, amount }, cause),
        Effect::AnnounceVoided => tx.publish(&PaymentVoided { order_id }, cause),
    }
    .map(drop)
}
