//! Playing the scenarios: customers come, something breaks, and is mended again.

use std::{collections::BTreeMap, time::Duration};

use contracts::Timestamp;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    customer::{Outcome, Sample},
    load::Customers,
    scenario::{Breakage, Course, Group, KILLED_MS, Scenario, Style},
    system::System,
    world::World,
};
use crate::checkout::{self, api::Shop};

/// How long a checkout may take: longer than the calls of one and the undoing of them together.
const CUSTOMER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the mails of a turn are waited for before the next.
const QUIET_LIMIT: Duration = Duration::from_secs(6);
/// How long it stays broken for those who came last: at least, and at most.
const LINGER: Duration = Duration::from_secs(1);
const LONGEST_LINGER: Duration = Duration::from_secs(10);
/// How often is looked whether something has come.
const LOOK: Duration = Duration::from_millis(100);
/// How long each style is warmed up: connections, caches, pages of the databases.
const WARM_UP: Duration = Duration::from_millis(2_500);

/// The shop, its customers, and the world around.
pub(super) struct Stage {
    pub(super) system: System,
    pub(super) world: World,
    shops: BTreeMap<Style, Shop>,
    body: Vec<u8>,
    quick: bool,
}

/// One way to make orders, in one scenario.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) scenario: Scenario,
    pub(super) style: Style,
    pub(super) course: Course,
    /// One for each turn.
    pub(super) spells: Vec<Spell>,
}

/// Some seconds of it.
#[derive(Debug)]
pub(super) struct Spell {
    /// When it began, by the calendar.
    pub(super) wall: Timestamp,
    /// When it began.
    pub(super) began: Instant,
    /// From when to when it was broken.
    pub(super) broken: (Instant, Instant),
    /// Checkouts that began later may have met what was mended.
    pub(super) counted_until: Instant,
    /// When the last customer came.
    pub(super) ended: Instant,
    /// The checkouts, in the order in which they began.
    pub(super) samples: Vec<Sample>,
}

impl Spell {
    /// Whether all of a checkout was while it was broken: only these are counted.
    pub(super) fn counts(&self, sample: &Sample) -> bool {
        (self.broken.0..self.counted_until).contains(&sample.at)
    }
}

impl Run {
    /// The checkouts that began while it was broken.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Sample> {
        self.spells
            .iter()
            .flat_map(|spell| spell.samples.iter().filter(|sample| spell.counts(sample)))
    }

    /// All checkouts.
    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.spells.iter().flat_map(|spell| &spell.samples)
    }
}

impl Stage {
    /// A stage with a running shop.
    ///
    /// # Errors
    /// When a client can't be made.
    pub(super) fn new(system: System, quick: bool) -> anyhow::Result<Self> {
        let order = system.url("order").to_owned();
        let shop = |style: Style| {
            let shop = Shop::new(&order, Some(style.as_str()), CUSTOMER_TIMEOUT)?;
            anyhow::Ok((style, shop))
        };
        Ok(Self {
            world: World::new(system.url("sandbox"))?,
            shops: Style::ALL.into_iter().map(shop).collect::<anyhow::Result<_>>()?,
            body: checkout::example().into_bytes(),
            system,
            quick,
        })
    }

    /// The order service; any style's will do for looking.
    pub(super) fn shop(&self) -> Option<&Shop> {
        self.shops.values().next()
    }

    /// Lets each style's first customers find cold caches, and counts none of them.
    ///
    /// # Errors
    /// When the system fails.
    pub(super) async fn warm_up(&mut self) -> anyhow::Result<()> {
        let course = Course {
            before: Duration::ZERO,
            during: WARM_UP,
            after: Duration::ZERO,
            breakage: Breakage::None,
            ..Scenario::Healthy.course(self.quick)
        };
        for style in Style::ALL {
            self.spell(style, &course).await?;
        }
        Ok(())
    }

    /// Plays the scenarios of a group, taking turns, each style after the other.
    ///
    /// # Errors
    /// When the system fails in a way that nobody ordered.
    pub(super) async fn play(&mut self, group: &Group) -> anyhow::Result<Vec<Run>> {
        let mut runs = Vec::new();
        for scenario in &group.scenarios {
            for style in Style::ALL {
                let course = scenario.course(self.quick);
                runs.push(Run { scenario: *scenario, style, course, spells: Vec::new() });
            }
        }
        let styles = Style::ALL.len();
        for turn in 0..group.turns {
            for n in 0..styles {
                // Nobody always has the same place: neither the styles nor the scenarios.
                let style = Style::ALL[(n + turn) % styles];
                let mut these: Vec<_> = runs.iter_mut().filter(|run| run.style == style).collect();
                if turn % 2 == 1 {
                    these.reverse();
                }
                for run in these {
                    eprintln!("{}: {}", run.scenario.short(), style.as_str());
                    let mails = self.world.counts().await?.1;
                    let spell = self.spell(style, &run.course).await?;
                    if group.turns > 1 {
                        self.quiet(style, mails, &spell).await?;
                    }
                    run.spells.push(spell);
                }
            }
        }
        Ok(runs)
    }

    /// Some seconds of customers, and of trouble among them.
    async fn spell(&mut self, style: Style, course: &Course) -> anyhow::Result<Spell> {
        let shop = self.shops.get(&style).cloned();
        let shop = shop.ok_or_else(|| anyhow::anyhow!("no shop for {style:?}"))?;
        let body = self.body.clone();
        let (customers, end) = (Customers::new(course.rate), CancellationToken::new());
        let mut broken_at = None;
        if course.before.is_zero() {
            broken_at = Some(self.disturb(course, &customers).await?);
        }
        let (wall, began) = (Timestamp::now(), Instant::now());
        let trouble = async {
            // Whatever happens, the customers don't come for ever.
            let end = end.clone().drop_guard();
            sleep(course.before).await;
            let from = match broken_at {
                Some(from) => from,
                None => self.disturb(course, &customers).await?,
            };
            sleep(course.during).await;
            let counted_until = Instant::now();
            let mut to = counted_until;
            if !course.after.is_zero() {
                self.linger(course, &customers, counted_until).await;
                to = Instant::now();
                self.mend(course, &customers).await?;
                sleep(course.after).await;
            }
            drop(end);
            anyhow::Ok(((from, to), counted_until, Instant::now()))
        };
        let (trouble, samples) = tokio::join!(trouble, customers.run(&shop, &body, end.clone()));
        let (broken, counted_until, ended) = trouble?;
        if course.after.is_zero() {
            // Not before the last answer: what is slow is slow for everybody who came.
            self.mend(course, &customers).await?;
        }
        self.system.all_ready().await?;
        Ok(Spell { wall, began, broken, counted_until, ended, samples: samples? })
    }

    /// Leaves it broken until everybody who came before then has an answer, so that none of them meets what is mended.
    async fn linger(&self, course: &Course, customers: &Customers, until: Instant) {
        if !course.lingers() {
            return;
        }
        sleep(LINGER).await;
        while !customers.are_answered(until) && until.elapsed() < LONGEST_LINGER {
            sleep(LOOK).await;
        }
    }

    /// Breaks what is to be broken; since when it is.
    async fn disturb(&mut self, course: &Course, customers: &Customers) -> anyhow::Result<Instant> {
        match &course.breakage {
            Breakage::None => {}
            Breakage::Faults(faults) => {
                for (part, faults) in faults {
                    self.world.disturb(part, faults).await?;
                }
            }
            Breakage::Down(service) => self.system.stop_service(service).await,
            Breakage::Killed(service) => {
                self.world.disturb("processor", &json!({"latency_ms": KILLED_MS})).await?;
                sleep(Duration::from_millis(2 * KILLED_MS)).await; // by now, charges that take so long are under way
                let now = Instant::now();
                self.system.kill(service)?;
                return Ok(now);
            }
            Breakage::Crowd(times) => customers.come(course.rate * times),
        }
        Ok(Instant::now())
    }

    /// Mends what [`disturb`](Self::disturb) broke.
    async fn mend(&mut self, course: &Course, customers: &Customers) -> anyhow::Result<()> {
        match &course.breakage {
            Breakage::None => {}
            Breakage::Faults(_) | Breakage::Killed(_) => self.world.heal().await?,
            Breakage::Down(service) => self.system.start_service(service)?,
            Breakage::Crowd(_) => customers.come(course.rate),
        }
        Ok(())
    }

    /// Waits until the mails of a turn have come, so that they aren't in the way of the next.
    async fn quiet(&self, style: Style, before: usize, spell: &Spell) -> anyhow::Result<()> {
        let each = if style == Style::Sync { 1 } else { 2 };
        let accepted = spell.samples.iter();
        let accepted =
            accepted.filter(|sample| matches!(sample.outcome, Outcome::Accepted(_))).count();
        let until = Instant::now() + QUIET_LIMIT;
        while Instant::now() < until && self.world.counts().await?.1 < before + each * accepted {
            sleep(LOOK).await;
        }
        Ok(())
    }
}
