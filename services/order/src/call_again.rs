//! Calling again for what a checkout by calls has left open: a refund, or goods to be released or shipped. The loop of the sagas does
//! it after a crash, an operator's retry after a failure.

use ::store::Db;
use contracts::Timestamp;
use runtime::{Chain, telemetry};
use tracing::Instrument as _;

use crate::{
    calls::{Callees, Failed},
    machine::{Fact, Payment, Step},
    moving::{self, Moving, Watchers},
    order::Order,
    store::steps,
};

/// What is said of a refund that payment goes on with.
const UNDER_WAY: &str = "payment has not refunded it yet; its card processor may be unavailable";

/// What a call came to.
enum Called {
    /// What the other service says of it.
    Known(Fact),
    /// The goods are shipped.
    Shipped,
    /// Payment goes on with it by itself, and announces when it is done.
    UnderWay,
    /// There was nothing to call for.
    Nothing,
}

/// Makes the call for a step again, and writes down what it came to. When it fails, or its answer contradicts what is known, the step
/// stays open and says why.
///
/// # Errors
/// When what it came to can't be written down.
pub(crate) async fn call_again(
    db: &Db,
    callees: &Callees,
    watchers: &Watchers,
    order: &Order,
    step: Step,
) -> Result<(), moving::Error> {
    let span = order.span("call again");
    let cause = telemetry::cause(&span);
    let called = call(callees, order, step).instrument(span).await;
    let mut tx = db.begin().await?;
    let mut moving = Moving::lock(&mut tx, &[order.id], watchers.pace).await?;
    let refused = match called {
        Ok(Called::Known(fact)) => match moving.take(&mut tx, order.id, fact, &cause) {
            Ok(()) => None,
            Err(error @ moving::Error::Refused(_)) => {
                Some((Chain(&error).to_string(), Some(Timestamp::now())))
            }
            Err(error) => return Err(error),
        },
        Ok(Called::Shipped) => {
            moving.answer(order.id, step, "done");
            None
        }
        Ok(Called::Nothing) => None,
        Ok(Called::UnderWay) => Some((UNDER_WAY.to_owned(), None)),
        Err(failed) => Some((failed.detail().to_owned(), None)),
    };
    if let Some((error, parked_at)) = refused {
        steps::failed(&mut tx, order.id, step, &error, parked_at).await?;
    }
    moving.save(&mut tx, watchers).await?;
    tx.commit().await?;
    Ok(())
}

async fn call(callees: &Callees, order: &Order, step: Step) -> Result<Called, Failed> {
    Ok(match step {
        Step::RefundPayment => match callees.refund(order).await? {
            Payment::Unknown => Called::UnderWay,
            payment => Called::Known(Fact::Payment(payment)),
        },
        Step::ReleaseStock => Called::Known(Fact::Stock(callees.release(order).await?)),
        Step::ShipStock => callees.ship(order).await.map(|()| Called::Shipped)?,
        // A checkout that did not come through these is undone, not continued.
        Step::ReserveStock | Step::ChargeCard => Called::Nothing,
    })
}
