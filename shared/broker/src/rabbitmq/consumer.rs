//! The receiving end: a task that keeps a connection and a consumer alive, for ever.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    connection::{ANSWER_TIMEOUT, Link, no_answer},
    declare::name,
    outages::Outages,
    session::Session,
    settings::Settings,
};
use crate::{Delivery, Error, Result};

/// The receiving end of a queue.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(super) settings: Arc<Settings>,
    pub(super) publishing: Arc<Link>,
    pub(super) queue: Arc<str>,
    incoming: mpsc::Receiver<Vec<Delivery>>,
    current: Arc<Current>,
    task: JoinHandle<()>,
}

/// The session that lasts, if one does.
type Current = Mutex<Option<Arc<Session>>>;

impl Consumer {
    pub(super) fn start(
        settings: Arc<Settings>,
        publishing: Arc<Link>,
        queue: &str,
        prefetch: u16,
    ) -> Self {
        let (sender, incoming) = mpsc::channel(1);
        let current = Arc::new(Current::default());
        let feed = Feed {
            settings: settings.clone(),
            queue: queue.into(),
            prefetch: prefetch.max(1), // 0 would mean without a limit
            current: current.clone(),
            sender,
        };
        let task = tokio::spawn(feed.run());
        Self { settings, publishing, queue: queue.into(), incoming, current, task }
    }

    pub(crate) async fn next(&mut self) -> Vec<Delivery> {
        loop {
            let Some(mut deliveries) = self.incoming.recv().await else {
                return crate::ended(&mut self.task).await;
            };
            // No await from here on: dropping the future must not lose what was taken.
            while let Ok(more) = self.incoming.try_recv() {
                deliveries.extend(more);
            }
            deliveries.retain(|delivery| match &delivery.receipt {
                crate::Receipt::RabbitMq(receipt) => !receipt.session.is_over(),
                crate::Receipt::Table(_) => false,
            });
            if !deliveries.is_empty() {
                return deliveries;
            }
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().is_some_and(|session| !session.is_over())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
        // Receipts may live on; the broker shall have the messages back now.
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = current {
            session.close();
        }
    }
}

/// What the task needs.
struct Feed {
    settings: Arc<Settings>,
    queue: Arc<str>,
    prefetch: u16,
    current: Arc<Current>,
    sender: mpsc::Sender<Vec<Delivery>>,
}

impl Feed {
    async fn run(self) {
        let purpose = format!("consume {}", self.queue);
        let mut outages = Outages::new(purpose, self.settings.troubles());
        loop {
            outages.pause().await;
            let error = match self.open().await {
                Ok((session, stream)) => {
                    outages.connected();
                    self.set_current(Some(session.clone()));
                    let error = self.feed(&session, stream).await;
                    self.set_current(None);
                    session.close();
                    error
                }
                Err(error) => error,
            };
            outages.failed(&error);
        }
    }

    fn set_current(&self, session: Option<Arc<Session>>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Connects and starts consuming.
    async fn open(&self) -> Result<(Arc<Session>, lapin::Consumer)> {
        let purpose = format!("consume {}", self.queue);
        let connection = self.settings.connect(&purpose, Some(&self.queue)).await?;
        let opening = async {
            let channel = connection.create_channel().await?;
            channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
            let queue = name(&self.settings.names().queue(&self.queue))?;
            let options = BasicConsumeOptions::default();
            let stream =
                channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
            Ok::<_, Error>((channel, stream))
        };
        let (channel, stream) = timeout(ANSWER_TIMEOUT, opening)
            .await
            .unwrap_or_else(|_| Err(no_answer(ANSWER_TIMEOUT)))?;
        Ok((Arc::new(Session::new(connection, channel)), stream))
    }

    /// Passes deliveries on for as long as the session lasts; why it ended.
    async fn feed(&self, session: &Arc<Session>, mut stream: lapin::Consumer) -> Error {
        let mut arrived = Vec::new();
        loop {
            // In this order: an end is seen while the reader is busy, and what has arrived goes on together.
            tokio::select! {
                biased;
                () = session.ended() => {
                    return Error::Unavailable("given up after an error".to_owned());
                }
                delivery = stream.next() => {
                    let mut next = Some(delivery);
                    // The end comes once, and may come right after a delivery: it must not pass unseen.
                    while let Some(delivery) = next {
                        match delivery {
                            Some(Ok(delivery)) => arrived.push(session.receive(delivery)),
                            Some(Err(error)) => return error.into(),
                            None => {
                                let reason = "the broker cancelled the consumer: its queue is gone";
                                return Error::Unavailable(reason.to_owned());
                            }
                        }
                        next = stream.next().now_or_never();
                    }
                },
                permit = self.sender.reserve(), if !arrived.is_empty() => match permit {
                    Ok(permit) => permit.send(std::mem::take(&mut arrived)),
                    // The consumer is gone, and soon this task.
                    Err(_) => return Error::Unavailable("nobody consumes".to_owned()),
                },
            }
        }
    }
}
