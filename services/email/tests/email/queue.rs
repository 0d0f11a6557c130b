//! The broker that the messages come by.

use broker::{Broker, DeadLetter, Message, Outcome, Selection, Topology};
use contracts::SUBSCRIPTIONS;
use testkit::TestDatabase;

use crate::eventually;

/// A broker of a test's own.
pub(crate) struct Queue {
    pub(crate) database: TestDatabase,
    broker: Broker,
}

impl Queue {
    pub(crate) async fn new() -> Self {
        let database = testkit::sqlite_database();
        let topology = Topology {
            subscriptions: SUBSCRIPTIONS.to_vec(),
            retry_delays: Vec::new(),
            history: false,
        };
        let broker = Broker::open(&database.url, topology).await.unwrap();
        Self { database, broker }
    }

    pub(crate) async fn publish(&self, messages: &[Message]) {
        let outcomes = self.broker.publish(messages).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Confirmed), "{outcomes:?}");
    }

    pub(crate) async fn is_empty(&self) -> bool {
        let db = store::Db::open(&self.database.url, store::Options::default()).await.unwrap();
        let (left,) = db
            .read("SELECT count(*) FROM deliveries WHERE queue = 'email'")
            .one::<(i64,)>()
            .await
            .unwrap();
        db.close().await;
        left == 0
    }

    /// Waits until every message is acked or dead.
    pub(crate) async fn drained(&self) {
        eventually("the queue is empty", async || self.is_empty().await.then_some(())).await;
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.broker.dead_letters("email", 100).await.unwrap()
    }

    pub(crate) async fn dead_letter(&self) -> DeadLetter {
        eventually("there is a dead letter", async || self.dead_letters().await.pop()).await
    }

    pub(crate) async fn replay(&self, count: usize) {
        assert_eq!(self.broker.replay("email", &Selection::All).await.unwrap().len(), count);
    }
}
