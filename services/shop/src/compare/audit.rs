//! Afterwards: what became of every order, every charge and every mail.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use broker::Broker;
use contracts::{OrderId, SUBSCRIPTIONS};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    customer::Outcome,
    scenario::Style,
    stage::{Run, Stage},
    world::{Charge, Mail, World},
};
use crate::checkout::api::{Order, Shop};

/// How long orders have to settle, and mails to come, after all is mended. Longer than the lease (30 s) of messages whose
/// sender was killed.
pub(super) const LIMIT: Duration = Duration::from_secs(40);
/// How long orders that were made by calls have: nobody goes on with them but payment, which gives money back.
pub(super) const CALLS_LIMIT: Duration = Duration::from_secs(10);
/// How many orders are asked for at a time.
const READERS: usize = 8;
/// The longest wait that is asked for in one call.
const LONGEST_WAIT: u64 = 5;
/// The pause before an order, or the mailbox, is looked at again.
const PAUSE: Duration = Duration::from_millis(100);
/// Dead letters that are looked at.
const LETTERS: usize = 100_000;

/// What was there before, and isn't this scenario's.
#[derive(Debug, Default)]
pub(super) struct Before {
    charges: usize,
    mails: usize,
    letters: BTreeSet<(String, Uuid)>,
}

/// What is known of one order in the end.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The order; none when the order service doesn't know it.
    pub(super) order: Option<Order>,
    /// Whether it was accepted.
    pub(super) accepted: bool,
    /// Its charges.
    pub(super) charges: Vec<Charge>,
    /// Its mails.
    pub(super) mails: Vec<Mail>,
    /// Its messages that failed for good.
    pub(super) dead: usize,
}

/// What is known of the orders of one run.
pub(super) type Books = HashMap<OrderId, Known>;

impl Before {
    /// What is there now.
    ///
    /// # Errors
    /// When somebody doesn't answer.
    pub(super) async fn now(stage: &Stage, broker: &Broker) -> anyhow::Result<Self> {
        let (charges, mails) = stage.world.counts().await?;
        let letters = dead_letters(broker).await?;
        let letters = letters.into_iter().map(|letter| (letter.queue, letter.id)).collect();
        Ok(Self { charges, mails, letters })
    }
}

/// Waits until the orders of these runs are settled and their mails have come; then the books of each.
///
/// # Errors
/// When somebody doesn't answer.
pub(super) async fn audit(
    stage: &Stage,
    broker: &Broker,
    before: &Before,
    runs: &[Run],
) -> anyhow::Result<Vec<Books>> {
    let until = Instant::now() + LIMIT;
    let shop = stage.shop().context("no shop")?;
    let mut books: Vec<Books> = Vec::new();
    for run in runs {
        let accepted: BTreeMap<OrderId, bool> = run
            .samples()
            .filter_map(|sample| match sample.outcome {
                Outcome::Accepted(id) => Some((id, true)),
                Outcome::Refused { order, .. } => order.map(|id| (id, false)),
                Outcome::Unanswered => None,
            })
            .collect();
        let until = match run.style {
            Style::Sync => until.min(Instant::now() + CALLS_LIMIT),
            Style::Choreography | Style::Orchestration => until,
        };
        let mut orders = look(shop, accepted.keys().copied().collect(), until).await?;
        let known = accepted.into_iter().map(|(id, accepted)| {
            let order = orders.remove(&id).flatten();
            (id, Known { order, accepted, ..Known::default() })
        });
        books.push(known.collect());
    }
    let mails = mails(&stage.world, before, runs, &books, until).await?;
    for mail in mails {
        let id = mail.order_id.as_deref().and_then(|id| id.parse().ok());
        if let Some(known) = id.and_then(|id| find(&mut books, id)) {
            known.mails.push(mail);
        }
    }
    charges(stage, shop, before, runs, &mut books).await?;
    for letter in dead_letters(broker).await? {
        if before.letters.contains(&(letter.queue, letter.id)) {
            continue;
        }
        let body: Value = serde_json::from_slice(&letter.body).unwrap_or_default();
        let id = body["correlationid"].as_str().and_then(|id| id.parse().ok());
        if let Some(known) = id.and_then(|id| find(&mut books, id)) {
            known.dead += 1;
        }
    }
    Ok(books)
}

fn find(books: &mut [Books], id: OrderId) -> Option<&mut Known> {
    books.iter_mut().find_map(|books| books.get_mut(&id))
}

/// The orders as they are when they are settled, or wait for a person, or the time is up.
async fn look(
    shop: &Shop,
    ids: Vec<OrderId>,
    until: Instant,
) -> anyhow::Result<HashMap<OrderId, Option<Order>>> {
    let (ids, next) = (Arc::new(ids), Arc::new(AtomicUsize::new(0)));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (shop, ids, next) = (shop.clone(), ids.clone(), next.clone());
        readers.spawn(async move {
            let mut mine = Vec::new();
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                mine.push((*id, look_at(&shop, *id, until).await?));
            }
            anyhow::Ok(mine)
        });
    }
    let mut all = HashMap::new();
    while let Some(mine) = readers.join_next().await {
        all.extend(mine??);
    }
    Ok(all)
}

async fn look_at(shop: &Shop, id: OrderId, until: Instant) -> anyhow::Result<Option<Order>> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let order = shop.find(id, 0).await?;
        let waits = order.as_ref().is_some_and(|order| {
            // What calls have left to a person nobody else goes on with.
            !(order.settled || order.needs_attention && order.style == Style::Sync.as_str())
        });
        if !waits || left.is_zero() {
            return Ok(order);
        }
        shop.find(id, LONGEST_WAIT.min(left.as_secs() + 1)).await?;
    }
}

/// The mails of these runs, once all have come that should, or the time is up.
async fn mails(
    world: &World,
    before: &Before,
    runs: &[Run],
    books: &[Books],
    until: Instant,
) -> anyhow::Result<Vec<Mail>> {
    let expected = |(run, books): (&Run, &Books)| {
        let accepted = books.values().filter(|known| known.accepted).count();
        accepted * mails_of(run.style)
    };
    let expected: usize = runs.iter().zip(books).map(expected).sum();
    loop {
        if world.counts().await?.1 >= before.mails + expected || Instant::now() > until {
            return world.mails(before.mails).await;
        }
        sleep(PAUSE).await;
    }
}

/// How many mails an accepted order leads to: those who answer early acknowledge first.
pub(super) const fn mails_of(style: Style) -> usize {
    match style {
        Style::Choreography | Style::Orchestration => 2,
        Style::Sync => 1,
    }
}

/// Adds the charges. One of an order that no customer was told of is looked up.
async fn charges(
    stage: &Stage,
    shop: &Shop,
    before: &Before,
    runs: &[Run],
    books: &mut [Books],
) -> anyhow::Result<()> {
    for charge in stage.world.charges(before.charges).await? {
        let id: OrderId = charge.reference.parse().context("a charge for no order")?;
        if find(books, id).is_none() {
            let order = shop.find(id, 0).await?;
            // It belongs to whoever placed orders at that time.
            let began = |run: &Run| {
                run.spells.iter().map(|spell| spell.wall).filter(|wall| *wall <= charge.at).max()
            };
            let whose = runs.iter().zip(books.iter_mut()).max_by_key(|(run, _)| began(run));
            if let Some((_, books)) = whose {
                books.insert(id, Known { order, ..Known::default() });
            }
        }
        if let Some(known) = find(books, id) {
            known.charges.push(charge);
        }
    }
    Ok(())
}

async fn dead_letters(broker: &Broker) -> anyhow::Result<Vec<broker::DeadLetter>> {
    let mut letters = Vec::new();
    for subscription in SUBSCRIPTIONS {
        letters.extend(broker.dead_letters(subscription.queue, LETTERS).await?);
    }
    Ok(letters)
}
