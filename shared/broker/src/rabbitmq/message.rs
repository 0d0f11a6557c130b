//! What a message carries beside its bytes: AMQP properties for those who look at the broker, and its history.

use contracts::{Envelope, Header, Timestamp};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use crate::History;

/// The history as JSON.
const HISTORY: &str = "x-shop-history";
/// The key that a message was first published with; a message that waited comes back under its queue's name.
const ROUTING_KEY: &str = "x-shop-routing-key";
/// What the broker adds when it moves a message by itself.
const X_DEATH: &str = "x-death";
/// Bytes of an error that are kept. Headers must fit into one frame, and JSON may make six of one.
const MAX_ERROR: usize = 4_096;
/// Survives the power going out.
const PERSISTENT: u8 = 2;

/// The properties of an envelope's bytes; of other bytes, nearly none.
pub(super) fn properties_of(body: &[u8]) -> BasicProperties {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let Some(header) = Header::of(body) else {
        return properties;
    };
    let seconds = u64::try_from(header.time.as_micros() / 1_000_000).unwrap_or(0);
    let mut headers = FieldTable::default();
    if let Some(traceparent) = header.traceparent.filter(|text| text.len() < 256) {
        headers.insert("traceparent".into(), AMQPValue::LongString(traceparent.into()));
    }
    properties
        .with_content_type(Envelope::CONTENT_TYPE.into())
        .with_message_id(header.id.to_string().into())
        .with_type(short(header.kind))
        .with_timestamp(seconds)
        .with_correlation_id(short(header.correlationid))
        .with_app_id(short(header.source.trim_start_matches('/').to_owned()))
        .with_headers(headers)
}

/// Only for those who look: what is too long for a property is left out.
fn short(text: String) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}

/// The properties for publishing a message on, with its history. What the broker noted is left behind: RabbitMQ 4 ignores it, 3
/// would take it up.
pub(super) fn with_history(
    properties: BasicProperties,
    routing_key: &str,
    history: &History,
) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (key, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        let brokers = ["x-death", "x-first-death", "x-last-death", "x-delivery-count"];
        if !brokers.iter().any(|prefix| key.as_str().starts_with(prefix)) {
            headers.insert(key.clone(), value.clone());
        }
    }
    let mut history = history.clone();
    if let Some(error) = &mut history.error {
        error.truncate(error.floor_char_boundary(MAX_ERROR));
    }
    let json = serde_json::to_string(&history).unwrap_or_else(|_| "{}".to_owned());
    headers.insert(HISTORY.into(), AMQPValue::LongString(json.into()));
    headers.insert(ROUTING_KEY.into(), AMQPValue::LongString(routing_key.into()));
    properties.with_headers(headers)
}

/// A message's key and history, as a consumer sees them.
pub(super) fn origin(
    properties: &BasicProperties,
    delivered_by: &ShortString,
) -> (String, History) {
    let headers = properties.headers().as_ref();
    let routing_key = headers
        .and_then(|table| long_string(table, ROUTING_KEY))
        .map_or_else(|| delivered_by.as_str().to_owned(), |key| key.to_string());
    let history = headers
        .and_then(|table| long_string(table, HISTORY))
        .and_then(|json| serde_json::from_slice(json.as_bytes()).ok())
        .unwrap_or_default();
    (routing_key, history)
}

/// A dead letter's key and history. One that the broker itself moved, because nobody answered for it, says so.
pub(super) fn origin_of_dead(
    properties: &BasicProperties,
    delivered_by: &ShortString,
) -> (String, History) {
    let (mut routing_key, history) = origin(properties, delivered_by);
    let Some(death) = properties.headers().as_ref().and_then(unanswered) else {
        return (routing_key, history);
    };
    if routing_key == delivered_by.as_str()
        && let Some(AMQPValue::FieldArray(keys)) = death.inner().get("routing-keys")
        && let Some(AMQPValue::LongString(key)) = keys.as_slice().first()
    {
        routing_key = key.to_string();
    }
    let at = match death.inner().get("time") {
        Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).unwrap_or(0) * 1_000_000,
        _ => 0,
    };
    (routing_key, history.unanswered(Timestamp::from_micros(at)))
}

/// The note that the delivery limit was reached.
fn unanswered(headers: &FieldTable) -> Option<&FieldTable> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get(X_DEATH) else {
        return None;
    };
    deaths.as_slice().iter().find_map(|death| match death {
        AMQPValue::FieldTable(death)
            if long_string(death, "reason")
                .is_some_and(|reason| reason.as_bytes() == b"delivery_limit") =>
        {
            Some(death)
        }
        _ => None,
    })
}

fn long_string<'t>(table: &'t FieldTable, key: &str) -> Option<&'t LongString> {
    match table.inner().get(key) {
        Some(AMQPValue::LongString(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: Vec<(&str, AMQPValue)>) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in pairs {
            table.insert(key.into(), value);
        }
        table
    }

    fn text(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    fn killed(more: Vec<(&str, AMQPValue)>) -> BasicProperties {
        let death = table(vec![
            ("reason", text("delivery_limit")),
            ("time", AMQPValue::Timestamp(1_800_000_000)),
            ("routing-keys", AMQPValue::FieldArray(vec![text("order.placed")].into())),
        ]);
        let mut headers = table(more);
        headers.insert(X_DEATH.into(), AMQPValue::FieldArray(vec![death.into()].into()));
        BasicProperties::default().with_headers(headers)
    }

    #[test]
    fn history_and_key_travel_in_headers_and_the_brokers_notes_do_not() {
        let history = History { failures: 2, error: Some("ü".to_owned()), ..History::default() };
        let properties =
            with_history(killed(vec![("mine", text("kept"))]), "order.placed", &history);
        assert_eq!(origin(&properties, &"payment".into()), ("order.placed".to_owned(), history));
        let headers = properties.headers().as_ref();
        assert!(headers.is_some_and(|headers| headers.contains_key("mine")));
        assert!(headers.is_some_and(|headers| !headers.contains_key(X_DEATH)));
    }

    #[test]
    fn what_the_broker_moved_says_why_and_when() {
        let (routing_key, history) = origin_of_dead(&killed(vec![]), &"payment.dead".into());
        assert_eq!(routing_key, "order.placed");
        assert!(history.error.is_some_and(|error| error.contains("without an answer")));
        assert_eq!(history.last_failed_at, Some(Timestamp::from_micros(1_800_000_000_000_000)));
    }

    #[test]
    fn bytes_that_are_no_envelope_have_no_properties_of_one() {
        let properties = properties_of(b"\x00\xff");
        assert!(properties.message_id().is_none());
        assert_eq!(*properties.delivery_mode(), Some(PERSISTENT));
    }

    #[test]
    fn an_envelope_with_endless_fields_is_no_reason_to_panic() {
        let long = "x".repeat(1000);
        let body = format!(
            r#"{{"id":"0198a000-0000-7000-8000-000000000000","source":"/{long}","type":"{long}",
            "subject":"","time":"2026-01-01T00:00:00Z","correlationid":"{long}"}}"#
        );
        let properties = properties_of(body.as_bytes());
        assert!(properties.message_id().is_some());
    }
}
