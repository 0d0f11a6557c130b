//! Who announces what, and who listens to it: one queue per service, bound to the events that it reacts to.
//!
//! Every service declares all of this when it starts, so that no event is published before the queues of
//! the others exist, in whatever order the services come up. A subscriber that is added later declares its
//! own [`Subscription`] beside it, and nothing here changes.

use crate::{Event, events::*};

/// The two ways that a message takes through a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exchange {
    /// Events go to every queue that is bound to their routing key, and into the history.
    Events,
    /// Commands go to one queue: their routing key is its name.
    Commands,
}

impl Exchange {
    /// Its name, in the broker and in traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "shop.events",
            Self::Commands => "shop.commands",
        }
    }

    /// The exchange of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Events, Self::Commands].into_iter().find(|exchange| exchange.name() == name)
    }
}

/// One subscriber's mailbox and what goes into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// The queue, named for its service.
    pub queue: &'static str,
    /// The routing keys of the events that go into it.
    pub routing_keys: &'static [&'static str],
    /// Whether commands go into it, too: those to its service.
    pub commands: bool,
    /// Whether its service may read the history: the events of the last days.
    pub history: bool,
}

impl Subscription {
    /// A queue that is bound to these events, and to nothing else.
    #[must_use]
    pub const fn to(queue: &'static str, routing_keys: &'static [&'static str]) -> Self {
        Self { queue, routing_keys, commands: false, history: false }
    }

    /// With the commands to its service.
    #[must_use]
    pub const fn with_commands(self) -> Self {
        Self { commands: true, ..self }
    }

    /// With the right to read the history.
    #[must_use]
    pub const fn with_history(self) -> Self {
        Self { history: true, ..self }
    }
}

/// The events that one service announces, and nobody else may: see [`PUBLICATIONS`](crate::PUBLICATIONS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// The service.
    pub service: &'static str,
    /// The routing keys of its events.
    pub routing_keys: &'static [&'static str],
}

/// The subscriptions of the four services.
pub const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription::to(
        "order",
        &[
            ProductListed::ROUTING_KEY,
            PaymentTaken::ROUTING_KEY,
            PaymentDeclined::ROUTING_KEY,
            PaymentRefunded::ROUTING_KEY,
            PaymentVoided::ROUTING_KEY,
            StockReserved::ROUTING_KEY,
            StockRejected::ROUTING_KEY,
            StockReleased::ROUTING_KEY,
        ],
    ),
    Subscription::to("payment", &[OrderPlaced::ROUTING_KEY, OrderCancelled::ROUTING_KEY])
        .with_commands(),
    Subscription::to(
        "inventory",
        &[OrderPlaced::ROUTING_KEY, OrderConfirmed::ROUTING_KEY, OrderCancelled::ROUTING_KEY],
    )
    .with_commands(),
    Subscription::to(
        "email",
        &[OrderPlaced::ROUTING_KEY, OrderConfirmed::ROUTING_KEY, OrderCancelled::ROUTING_KEY],
    ),
];

/// The subscription of one of the four services; none for an unknown name.
#[must_use]
pub fn subscription(queue: &str) -> Option<Subscription> {
    SUBSCRIPTIONS.iter().copied().find(|subscription| subscription.queue == queue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PUBLICATIONS, SENDERS};

    #[test]
    fn an_event_is_announced_by_one_service_and_nobody_waits_for_one_that_never_comes() {
        let announced: Vec<&str> =
            PUBLICATIONS.iter().flat_map(|publication| publication.routing_keys).copied().collect();
        for (n, key) in announced.iter().enumerate() {
            assert!(!announced[..n].contains(key), "{key} is announced twice");
        }
        for subscription in SUBSCRIPTIONS {
            for key in subscription.routing_keys {
                assert!(announced.contains(key), "{} waits for {key}", subscription.queue);
            }
        }
    }

    #[test]
    fn commands_go_to_services_that_take_them() {
        for (_, owner) in SENDERS {
            assert!(subscription(owner).is_some_and(|owner| owner.commands), "{owner}");
        }
    }

    #[test]
    fn what_a_service_announces_names_it_as_the_source() {
        for (service, source) in [
            ("order", <OrderPlaced as crate::Message>::SOURCE),
            ("payment", <PaymentTaken as crate::Message>::SOURCE),
            ("inventory", <ProductListed as crate::Message>::SOURCE),
        ] {
            assert_eq!(source, format!("/{service}"));
            assert!(PUBLICATIONS.iter().any(|publication| publication.service == service));
        }
    }
}
