//! Reading a delivery: its message, and the span of this attempt.

use std::time::Instant;

use broker::Delivery;
use contracts::{DecodeError, Envelope, Exchange, Header, Incoming};
use tracing::{Span, field::Empty};

use super::Received;
use crate::telemetry;

/// A delivery that is no message which the service can read.
pub(super) struct Unreadable {
    pub(super) error: DecodeError,
    /// The span of this attempt, in the trace that the bytes name, if they name one.
    pub(super) span: Span,
}

/// Reads a delivery.
///
/// # Errors
/// When it is no message that the service can read.
pub(super) fn read<M: Incoming>(
    queue: &str,
    system: &'static str,
    delivery: &Delivery,
) -> Result<Received<M>, Unreadable> {
    let arrived = Instant::now();
    let attempt = delivery.history.failures.saturating_add(1);
    let (message, header) = decode(&delivery.body).map_err(|error| {
        let header = Header::of(&delivery.body);
        Unreadable { error, span: span(queue, system, delivery, header.as_ref(), attempt) }
    })?;
    let span = span(queue, system, delivery, Some(&header), attempt);
    Ok(Received { message, header, attempt, replays: delivery.history.replays, span, arrived })
}

fn decode<M: Incoming>(body: &[u8]) -> Result<(M, Header), DecodeError> {
    let envelope = Envelope::from_bytes(body)?;
    let message = M::decode(&envelope)?;
    let header = Header {
        id: envelope.id,
        source: envelope.source,
        kind: envelope.kind,
        subject: envelope.subject,
        time: envelope.time,
        correlationid: envelope.correlationid,
        traceparent: envelope.traceparent,
    };
    Ok((message, header))
}

/// The CONSUMER span `process {queue}`: a child of the place where the message was created, with a link to it as the
/// conventions ask, and a link to the attempt before.
fn span(
    queue: &str,
    system: &'static str,
    delivery: &Delivery,
    header: Option<&Header>,
    attempt: u32,
) -> Span {
    // An event's key is never a queue's name.
    let exchange =
        if delivery.routing_key == queue { Exchange::Commands } else { Exchange::Events };
    let span = tracing::info_span!(
        "process",
        otel.name = format!("process {queue}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        trace_id = Empty,
        error.type = Empty,
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = format!("{}:{}:{queue}", exchange.name(), delivery.routing_key),
        messaging.rabbitmq.destination.routing_key = delivery.routing_key,
        messaging.message.id = header.map(|header| tracing::field::display(header.id)),
        messaging.message.conversation_id = header.map(|header| header.correlationid.as_str()),
        messaging.message.body.size = delivery.body.len(),
        shop.attempt = attempt,
        shop.replays = delivery.history.replays,
    );
    if !span.is_disabled() {
        let created = header.and_then(|header| header.traceparent.as_deref());
        telemetry::continue_trace(&span, created);
        let before = delivery.history.traceparent.as_deref();
        for context in [created, before].into_iter().flatten() {
            telemetry::link(&span, context);
        }
    }
    span
}
