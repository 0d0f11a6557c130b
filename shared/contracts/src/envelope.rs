//! The one envelope of all messages: CloudEvents 1.0 in structured mode (`application/cloudevents+json`).
//!
//! An envelope is made once, where the message is created; its bytes are the same in outbox, broker, dead
//! letter and replay.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{DecodeError, Message, Timestamp};

/// The media type of an envelope's bytes.
pub(crate) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// A message as it travels. Field by field as in <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// Always `1.0`.
    pub specversion: String,
    /// A UUIDv7; with `source` it identifies the message for ever.
    pub id: Uuid,
    /// The service that says it, `/order`.
    pub source: String,
    /// The message's type with its version.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about: the order's id, or the product's SKU.
    pub subject: String,
    /// When it was created.
    pub time: Timestamp,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// Where the form of `data` is written down.
    pub dataschema: String,
    /// What belongs together: the order's id (the subject, where there is no order).
    pub correlationid: String,
    /// The message that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causationid: Option<Uuid>,
    /// What must stay together when a broker partitions: the subject.
    pub partitionkey: String,
    /// W3C trace context of the place where it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The message itself, untouched.
    pub data: Box<RawValue>,
}

/// What led to a message: it goes into the message's envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// The message that was being handled; none for a request from outside.
    pub message: Option<Uuid>,
    /// W3C trace context of the span that creates the message.
    pub traceparent: Option<String>,
}

/// The part of an envelope that describes the message, without its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// See [`Envelope::id`].
    pub id: Uuid,
    /// See [`Envelope::source`].
    pub source: String,
    /// See [`Envelope::kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// See [`Envelope::subject`].
    pub subject: String,
    /// See [`Envelope::time`].
    pub time: Timestamp,
    /// See [`Envelope::correlationid`].
    pub correlationid: String,
    /// See [`Envelope::traceparent`].
    #[serde(default)]
    pub traceparent: Option<String>,
}

impl Header {
    /// The header of an envelope's bytes; none when they are no envelope.
    #[must_use]
    pub fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Envelope {
    /// The media type of [`to_bytes`](Self::to_bytes).
    pub const CONTENT_TYPE: &'static str = CONTENT_TYPE;

    /// Puts a message into its envelope.
    ///
    /// # Errors
    /// When the message can't be written as JSON (a map with keys that are no strings).
    pub fn new<M: Message>(
        message: &M,
        id: Uuid,
        time: Timestamp,
        cause: &Cause,
    ) -> Result<Self, serde_json::Error> {
        let subject = message.subject();
        Ok(Self {
            specversion: "1.0".to_owned(),
            id,
            source: M::SOURCE.to_owned(),
            kind: M::TYPE.to_owned(),
            time,
            datacontenttype: "application/json".to_owned(),
            dataschema: format!("https://shop.example.com/schemas/{}.json", M::TYPE),
            correlationid: subject.clone(),
            causationid: cause.message,
            partitionkey: subject.clone(),
            subject,
            traceparent: cause.traceparent.clone(),
            data: serde_json::value::to_raw_value(message)?,
        })
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// When the bytes are no CloudEvent of version 1.0.
    pub fn from_bytes(body: &[u8]) -> Result<Self, DecodeError> {
        let envelope: Self =
            serde_json::from_slice(body).map_err(|error| DecodeError::Envelope(error.into()))?;
        if envelope.specversion == "1.0" {
            Ok(envelope)
        } else {
            Err(DecodeError::SpecVersion(envelope.specversion))
        }
    }

    /// The bytes that are stored and sent.
    ///
    /// # Errors
    /// When a time lies outside the years that RFC 3339 can write.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The message inside.
    ///
    /// # Errors
    /// When the data doesn't have the form of `M`.
    pub fn data<M: Message>(&self) -> Result<M, DecodeError> {
        serde_json::from_str(self.data.get())
            .map_err(|error| DecodeError::Data { kind: M::TYPE, malformed: error.into() })
    }
}
