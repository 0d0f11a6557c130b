//! What a service does with the messages of its queue.

use std::{panic::AssertUnwindSafe, time::Instant};

use contracts::{Cause, Header, Incoming};
use futures_util::FutureExt as _;
use store::Tx;
use tracing::{Instrument as _, Span};

use super::Failure;
use crate::telemetry;

/// A message as a handler gets it.
#[derive(Debug)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// What its envelope says of it.
    pub header: Header,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many times a person replayed it.
    pub replays: u32,
    /// The span of this attempt.
    pub span: Span,
    pub(super) arrived: Instant,
}

impl<M> Received<M> {
    /// What a message that this one leads to says about its origin.
    #[must_use]
    pub fn cause(&self) -> Cause {
        // A service that isn't traced hands the trace on.
        let traceparent =
            telemetry::traceparent(&self.span).or_else(|| self.header.traceparent.clone());
        Cause { message: Some(self.header.id), traceparent }
    }
}

/// Handles the messages of a queue, in three steps. [`Apply`] is the simple form, for a handler that has nothing to ask
/// outside.
///
/// 1. `prepare` commits what must be found after a crash in the middle of a call, and decides what to ask.
/// 2. `call` asks the outside world, outside any transaction, with a key that makes a repetition harmless.
/// 3. `apply` changes the service's own books in one transaction with the inbox rows and the outgoing messages.
///
/// Each may happen again after a crash, in the same process or in another.
pub trait Handler: Send + Sync + 'static {
    /// What the service reacts to.
    type Message: Incoming;
    /// What `prepare` decided for a message.
    type Plan: Send + 'static;
    /// What `call` brought back.
    type Answer: Send + Sync + 'static;

    /// Step 1, for messages that were not applied before: a plan for each, in their order. Committed before any call.
    fn prepare(
        &self,
        tx: &mut Tx,
        batch: &[&Received<Self::Message>],
    ) -> impl Future<Output = Result<Vec<Self::Plan>, Failure>> + Send;

    /// Step 2, for one message.
    fn call(
        &self,
        received: &Received<Self::Message>,
        plan: Self::Plan,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Step 3, for messages that are certainly new. An error rolls all of it back; a batch is then applied one by one.
    fn apply(
        &self,
        tx: &mut Tx,
        batch: &[(&Received<Self::Message>, &Self::Answer)],
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The answer of a handler that has nothing to ask outside; the first two steps are then left out.
    fn without_call(&self) -> Option<Self::Answer> {
        None
    }
}

/// A handler that changes only the service's own books.
pub trait Apply: Send + Sync + 'static {
    /// What the service reacts to.
    type Message: Incoming;

    /// Changes the books in one transaction with the inbox rows and the outgoing messages. An error rolls all of it back;
    /// a batch is then applied one by one.
    fn apply(
        &self,
        tx: &mut Tx,
        batch: &[&Received<Self::Message>],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Makes a [`Handler`] of an [`Apply`].
#[derive(Debug)]
pub struct Local<A>(pub A);

impl<A: Apply> Handler for Local<A> {
    type Message = A::Message;
    type Plan = ();
    type Answer = ();

    async fn prepare(
        &self,
        _: &mut Tx,
        batch: &[&Received<A::Message>],
    ) -> Result<Vec<()>, Failure> {
        Ok(vec![(); batch.len()])
    }

    async fn call(&self, _: &Received<A::Message>, (): ()) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        batch: &[(&Received<A::Message>, &())],
    ) -> Result<(), Failure> {
        let batch: Vec<_> = batch.iter().map(|(received, ())| *received).collect();
        self.0.apply(tx, &batch).await
    }

    fn without_call(&self) -> Option<()> {
        Some(())
    }
}

/// Runs `call` in the message's span. A panic in it is that message's failure, not the process's.
pub(super) async fn call<H: Handler>(
    handler: &H,
    received: &Received<H::Message>,
    plan: H::Plan,
) -> Result<H::Answer, Failure> {
    AssertUnwindSafe(handler.call(received, plan))
        .catch_unwind()
        .instrument(received.span.clone())
        .await
        .unwrap_or_else(|_| Err(super::failure::panicked()))
}
