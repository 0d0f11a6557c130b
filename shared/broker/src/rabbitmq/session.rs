//! One life of a consumer's connection, and the deliveries that die with it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use lapin::{BasicProperties, Channel, Connection};
use tokio::{sync::Notify, time::timeout};

use super::{connection::ANSWER_TIMEOUT, message};
use crate::Delivery;

/// One life of a connection and its consumer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) channel: Channel,
    /// What was delivered and not answered.
    pub(super) unanswered: Mutex<BTreeSet<u64>>,
    /// Held while acks are chosen and sent: an ack for many that was chosen first and sent last would be for tags that are gone, and
    /// the broker closes the channel for that.
    pub(super) acking: tokio::sync::Mutex<()>,
    over: AtomicBool,
    ended: Notify,
    /// Closes with the session's end.
    connection: Connection,
}

impl Session {
    pub(super) fn new(connection: Connection, channel: Channel) -> Self {
        Self {
            channel,
            unanswered: Mutex::default(),
            acking: tokio::sync::Mutex::default(),
            over: AtomicBool::new(false),
            ended: Notify::new(),
            connection,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || !self.channel.status().connected()
    }

    /// Gives the connection up; whatever is unanswered is delivered again.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.ended.notify_one();
    }

    /// Waits for [`end`](Self::end).
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Ends it and closes the connection in the background, in an orderly way if it still answers.
    pub(super) fn close(self: Arc<Self>) {
        self.end();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = timeout(ANSWER_TIMEOUT, self.connection.close(200, "OK".into())).await;
            });
        }
    }

    /// Takes a delivery in.
    pub(super) fn receive(self: &Arc<Self>, delivery: lapin::message::Delivery) -> Delivery {
        let tag = delivery.delivery_tag;
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).insert(tag);
        let (routing_key, history) = message::origin(&delivery.properties, &delivery.routing_key);
        let receipt = Receipt { session: self.clone(), tag, properties: delivery.properties };
        Delivery {
            body: delivery.data,
            routing_key,
            history,
            receipt: crate::Receipt::RabbitMq(Box::new(receipt)),
        }
    }
}

/// How a delivery is found again. It dies with its connection: the broker then delivers the message again.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(super) session: Arc<Session>,
    pub(super) tag: u64,
    pub(super) properties: BasicProperties,
}

impl Drop for Receipt {
    /// A message that nobody will answer for must not stay out: ending the session puts it back.
    fn drop(&mut self) {
        let unanswered = self.session.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        if unanswered.contains(&self.tag) {
            self.session.end();
        }
    }
}
