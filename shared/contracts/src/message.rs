//! What every message is, and how a service names the set of those it reacts to.

use serde::{Serialize, de::DeserializeOwned};

use crate::Envelope;

/// Something that travels in an [`Envelope`].
pub trait Message: Serialize + DeserializeOwned {
    /// The CloudEvents `type`: reverse DNS name and version, `com.example.shop.order.placed.v1`.
    const TYPE: &'static str;
    /// The CloudEvents `source`: the service that says it, `/order`.
    const SOURCE: &'static str;

    /// What it is about: the order's id, or the product's SKU.
    fn subject(&self) -> String;
}

/// A fact in the past tense, addressed to nobody in particular. It can't be refused.
pub trait Event: Message {
    /// What subscribers bind their queue to, `order.placed`.
    const ROUTING_KEY: &'static str;
}

/// A request to the one service that owns it, which may refuse it. What came of it is told by an event.
pub trait Command: Message {
    /// The service that carries it out; also its queue's name.
    const OWNER: &'static str;
}

/// The closed set of messages that one service reacts to; made by [`incoming!`](crate::incoming).
pub trait Incoming: Sized + Send + Sync + 'static {
    /// The routing keys of the events, in the order of their declaration.
    const ROUTING_KEYS: &'static [&'static str];
    /// The owners of the commands: all the same service.
    const OWNERS: &'static [&'static str];

    /// Reads the message out of its envelope.
    ///
    /// # Errors
    /// When the type is none of the set, or the data doesn't have the type's form.
    fn decode(envelope: &Envelope) -> Result<Self, DecodeError>;
}

/// Why a message can't be read. Another attempt can't help.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no CloudEvent.
    #[error("not a CloudEvents 1.0 message: {0}")]
    Envelope(Malformed),
    /// The `specversion` is not 1.0.
    #[error("CloudEvents version {0:?} is not supported, only \"1.0\"")]
    SpecVersion(String),
    /// The type, or its version, is unknown to the reader.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// The data doesn't have the form that its type promises.
    #[error("the data of {kind} doesn't have its form: {malformed}")]
    Data {
        /// The message's type.
        kind: &'static str,
        /// What was wrong with it.
        malformed: Malformed,
    },
}

/// What is wrong with a piece of JSON, and where. Never what is there instead: that may be a mail address, and this goes
/// into logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        // serde says what it found, and then what it wanted; only the latter, and the names of fields, are ours.
        let harmless = !error.is_data()
            || ["missing field", "duplicate field"].iter().any(|start| text.starts_with(start));
        if harmless {
            return Self(text);
        }
        let place = format!("line {} column {}", error.line(), error.column());
        Self(match text.rsplit_once(", expected ") {
            Some((_, wanted)) => format!("expected {wanted}"),
            None => format!("a value that can't be at {place}"),
        })
    }
}

/// Declares the enum of the messages that a service reacts to, one variant per message type: the events, and after a semicolon
/// the commands that it owns.
///
/// ```
/// contracts::incoming! {
///     /// What a mailing service reacts to.
///     pub enum Incoming { OrderPlaced, OrderCancelled }
/// }
/// ```
///
/// A command is no event, so nobody can subscribe to one:
///
/// ```compile_fail
/// contracts::incoming! {
///     /// What a curious service would like to hear.
///     pub enum Incoming { OrderPlaced, ChargeCard }
/// }
/// ```
#[macro_export]
macro_rules! incoming {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($event:ident),+ $(,)?
            $(; $($command:ident),+ $(,)?)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $visibility enum $name {
            $(
                #[doc = concat!("See [`", stringify!($event), "`](contracts::", stringify!($event), ").")]
                $event($crate::$event),
            )+
            $($(
                #[doc = concat!("See [`", stringify!($command), "`](contracts::", stringify!($command), ").")]
                $command($crate::$command),
            )+)?
        }

        impl $crate::Incoming for $name {
            const ROUTING_KEYS: &'static [&'static str] =
                &[$(<$crate::$event as $crate::Event>::ROUTING_KEY),+];
            const OWNERS: &'static [&'static str] =
                &[$($(<$crate::$command as $crate::Command>::OWNER),+)?];

            fn decode(envelope: &$crate::Envelope) -> Result<Self, $crate::DecodeError> {
                $(
                    if envelope.kind == <$crate::$event as $crate::Message>::TYPE {
                        return envelope.data::<$crate::$event>().map(Self::$event);
                    }
                )+
                $($(
                    if envelope.kind == <$crate::$command as $crate::Message>::TYPE {
                        return envelope.data::<$crate::$command>().map(Self::$command);
                    }
                )+)?
                Err($crate::DecodeError::UnknownType(envelope.kind.clone()))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OrderPlaced;

    #[test]
    fn what_is_malformed_is_told_without_its_value() {
        for data in [
            r#"{"customer": "ada@example.com"}"#,
            r#"{"customer": {"email": "ada@example.com"}, "lines": "ada@example.com, expected ada@example.com"}"#,
            r#"{"order_id": "ada@example.com"}"#,
            r#"{"coordination": "ada@example.com"}"#,
            r#"{"placed_at": "ada@example.com"}"#,
            r#"{"customer": {"name": "ada@example.com"}}"#,
            r#"{"customer": ada@example.com}"#,
        ] {
            let error = serde_json::from_str::<OrderPlaced>(data).unwrap_err();
            let told = Malformed::from(error).to_string();
            assert!(!told.contains("ada") && told.contains("line 1 column"), "{data}: {told}");
        }
    }
}
