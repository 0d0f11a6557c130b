//! The running stack, its customers, and the books that are kept of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::{
    shop::{Placed, Shop, assorted, new_key},
    wait::within,
};

use crate::{
    books::{Balance, Books, CUSTOMER, PATIENCE},
    mailpit::Mailpit,
    rabbit::{self, Management},
    stack::{self, Stack},
};

/// The services that are the shop's own, and their ports.
pub(crate) const OURS: [(&str, u16); 5] =
    [("order", 8080), ("payment", 8081), ("inventory", 8082), ("email", 8083), ("sandbox", 8084)];
/// Those that have a queue and a database.
pub(crate) const SERVICES: [&str; 4] = ["order", "payment", "inventory", "email"];
/// Checkouts a second while something is broken.
const LOAD: u32 = 8;

/// The stack as it runs.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) stack: Stack,
    pub(crate) shop: Shop,
    pub(crate) mailpit: Mailpit,
    pub(crate) books: Books,
    pub(crate) passwords: BTreeMap<String, String>,
}

/// What customers saw of something that was broken.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How many checkouts were sent.
    pub(crate) checkouts: usize,
    /// How many of them were not accepted at once, and had to be repeated.
    pub(crate) repeated: usize,
    /// The longest that one waited for an answer.
    pub(crate) longest: Duration,
}

impl World {
    /// Starts the stack, which must not be there, and places orders until one is confirmed; how long that took.
    pub(crate) async fn start(stack: Stack) -> Result<(Self, Duration)> {
        let began = Instant::now();
        // When it doesn't come up, that is what there is to be said, and not that nobody took an order.
        let ((), (books, took)) = tokio::try_join!(stack.up(&[]), first_order(stack, began))?;
        let mut shop = Shop::new(PATIENCE);
        shop.set_styles(&["choreography", "orchestration"]);
        find(&mut shop, stack).await?;
        let mailpit = stack.container("mailpit").await?.published(8025)?;
        let mailpit = Mailpit::watch(&format!("http://{mailpit}"), shop.http());
        let passwords = stack::passwords()?;
        Ok((Self { stack, shop, mailpit, books, passwords }, took))
    }

    /// Finds out where everything is now: free ports change whenever a container is started.
    pub(crate) async fn find(&mut self) -> Result<()> {
        find(&mut self.shop, self.stack).await
    }

    /// The address of a container's port on this machine.
    pub(crate) async fn address(&self, name: &str, port: u16) -> Result<String> {
        self.stack.container(name).await?.published(port)
    }

    /// A password of the `.env` file.
    pub(crate) fn password(&self, name: &str) -> Result<&str> {
        let password =
            self.passwords.get(name).with_context(|| format!("{name} is not in .env"))?;
        Ok(password)
    }

    /// The password of a service.
    pub(crate) fn password_of(&self, service: &str) -> Result<&str> {
        self.password(&format!("{}_PASSWORD", service.to_uppercase()))
    }

    /// RabbitMQ's management.
    pub(crate) async fn rabbitmq(&self) -> Result<Management> {
        Management::find(self).await
    }

    /// Places an order that must be accepted, and enters it.
    pub(crate) async fn place(&mut self, body: Value) -> Placed {
        let placed = self.shop.place(&body).await;
        self.books.add(placed.clone(), body);
        placed
    }

    /// Does something while customers keep coming, until an order that is placed after it is confirmed. How long that took from the end
    /// of what was done, and what the customers saw.
    pub(crate) async fn under_load(
        &mut self,
        act: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<(Duration, Seen)> {
        let customers = self.shop.customers();
        let charges = async || self.shop.ledger_summary().await["charges"].as_u64();
        let before = charges().await.context("the ledger")?;
        let load = customers.keep_coming(LOAD, |n| of_a_new_customer(assorted(n)));
        within(PATIENCE, "the system is at work", || async {
            (charges().await? >= before + 5).then_some(())
        })
        .await;
        let acted = act(self).await;
        let done = Instant::now();
        // The load must be gathered before any error ends this: its orders are in the books of the shop, too.
        self.find().await?;
        let body = of_a_new_customer(testkit::shop::plain(0));
        let next = customers.insist(body.clone(), new_key()).await;
        let order = self.shop.settled(&next.id).await;
        let back = done.elapsed();
        self.books.add(next, body);
        ensure!(order["status"] == "confirmed", "{order}");
        let checkouts = load.end().await;
        let seen = Seen {
            checkouts: checkouts.len(),
            repeated: checkouts.iter().filter(|checkout| checkout.placed().is_none()).count(),
            longest: checkouts.iter().map(|checkout| checkout.took).max().unwrap_or_default(),
        };
        for (placed, body) in customers.all_placed_with_bodies(checkouts).await {
            self.books.add(placed, body);
        }
        acted?;
        Ok((back, seen))
    }

    /// Checks that everything balances, that as many orders are in the order service's books, and that no message waits for a person.
    pub(crate) async fn balance(&mut self) -> Result<Balance> {
        self.find().await?;
        self.mails_are_sent().await?;
        let balance = self.books.balance(&self.shop, &self.mailpit).await?;
        let orders = self.orders_kept().await?;
        ensure!(orders == self.books.len(), "{orders} orders are kept, not {}", self.books.len());
        for service in SERVICES {
            let dead = rabbit::waiting(self, &format!("{service}.dead")).await?;
            ensure!(dead == 0, "{dead} dead letters of {service}");
        }
        Ok(balance)
    }

    /// As [`balance`](Self::balance), where nothing is a reason to send a mail twice.
    pub(crate) async fn balance_strictly(&mut self) -> Result<Balance> {
        let balance = self.balance().await?;
        ensure!(balance.repeats == 0, "mails came twice: {balance}");
        Ok(balance)
    }

    /// The URL of a database, as a user.
    pub(crate) async fn database_url(&self, user: &str, database: &str) -> Result<String> {
        let (address, password) = (self.address("postgres", 5432).await?, self.password_of(user)?);
        Ok(format!("postgres://{user}:{password}@{address}/{database}?sslmode=disable"))
    }

    /// How many orders there are in the order service's database.
    async fn orders_kept(&self) -> Result<usize> {
        self.count("order", "SELECT count(*) FROM orders").await
    }

    /// Waits until the email service knows that it has sent every mail. One that it isn't sure of comes again, and that belongs to
    /// whatever made it unsure, not to what happens next.
    async fn mails_are_sent(&self) -> Result<()> {
        let began = Instant::now();
        let sent = "SELECT count(*) FROM mails WHERE state = 'sent'";
        while self.count("email", sent).await? < 2 * self.books.len() {
            ensure!(began.elapsed() < PATIENCE, "the email service has not sent every mail");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// What a statement counts in a service's database.
    async fn count(&self, service: &str, statement: &'static str) -> Result<usize> {
        use sqlx::Connection as _;
        let url = self.database_url(service, service).await?;
        let mut connection = sqlx::PgConnection::connect(&url).await?;
        let count: i64 = sqlx::query_scalar(statement).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(usize::try_from(count)?)
    }
}

/// A checkout's body with an address that nobody else has: its mails are known by it.
pub(crate) fn of_a_new_customer(mut body: Value) -> Value {
    body["customer"]["email"] = json!(format!("{CUSTOMER}{}@example.com", new_key()));
    body
}

/// Tells where the shop's parts are.
async fn find(shop: &mut Shop, stack: Stack) -> Result<()> {
    let containers = stack.containers().await?;
    for container in containers {
        if let Some((_, port)) = OURS.iter().find(|(service, _)| *service == container.service())
            && let Ok(address) = container.published(*port)
        {
            shop.set_url(&container.name(), format!("http://{address}"));
        }
    }
    Ok(())
}

/// Places an order as soon as one is accepted, and waits until it is confirmed: the books with it, and when that was.
async fn first_order(stack: Stack, began: Instant) -> Result<(Books, Duration)> {
    let mut shop = Shop::new(PATIENCE);
    for (service, port) in [("order", 8080), ("inventory", 8082)] {
        shop.set_url(service, format!("http://{}", stack.appears(service, port).await));
    }
    let before = within(PATIENCE, "there are products", || async {
        let products = shop.http().get(format!("{}/products", shop.url("inventory")));
        let products: Value = products.send().await.ok()?.json().await.ok()?;
        products.as_array().is_some_and(|products| !products.is_empty()).then_some(())
    });
    before.await;
    let mut books = Books::new(shop.stocks().await);
    let body = of_a_new_customer(testkit::shop::plain(0));
    // Until the order service has heard of the products, it knows none: each try is a new one.
    let placed = within(PATIENCE, "an order is accepted", || async {
        let answer = shop.post_checkout(&body).await.ok()?;
        let accepted = answer.status().as_u16() == 202;
        let body: Value = answer.json().await.ok()?;
        accepted.then(|| Placed::read(&body))
    })
    .await;
    let order = shop.settled(&placed.id).await;
    let took = began.elapsed();
    ensure!(order["status"] == "confirmed", "{order}");
    books.add(placed, body);
    Ok((books, took))
}
