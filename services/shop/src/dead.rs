//! `shop dead`: messages that failed for good, to be looked at, delivered again, or thrown away.

mod mask;
mod show;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use broker::{Broker, DeadLetter, Selection, Topology};
use contracts::SUBSCRIPTIONS;
use uuid::Uuid;

use crate::{
    place::{self, Place},
    terminal::say,
};

/// So many dead letters are looked at; who has more has another problem.
const LIMIT: usize = 100_000;

/// `shop dead`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,

    /// Only those of this queue; a queue is named for its service [default: all four]
    #[arg(long, global = true, value_name = "QUEUE")]
    queue: Option<String>,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List them, the latest failure first
    List {
        /// Print JSON, one array
        #[arg(long)]
        json: bool,
        /// Don't mask mail addresses
        #[arg(long)]
        reveal: bool,
    },
    /// Show everything about one: its history and the message itself
    Show {
        /// The message's id
        id: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Don't mask mail addresses and card tokens
        #[arg(long)]
        reveal: bool,
    },
    /// Deliver them again, with the same id, to the queue in which they failed
    Replay {
        #[command(flatten)]
        which: Which,
    },
    /// Throw them away
    Purge {
        #[command(flatten)]
        which: Which,
        /// Really
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead letters are meant; none at all is refused.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Those with these ids
    #[arg(value_name = "ID")]
    ids: Vec<Uuid>,
    /// Every one
    #[arg(long)]
    all: bool,
}

/// Does what was asked for.
///
/// # Errors
/// When the broker is away, or there is no such dead letter.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let url = args.place.broker()?;
    if let Some(file) = place::sqlite_file(&url).filter(|file| !file.exists()) {
        bail!(
            "there is no {}: say where the shop is with --data or --broker (SHOP_DATA, SHOP_BROKER_URL)",
            file.display()
        );
    }
    eprintln!("broker: {}", place::shown(&url));
    let broker = Broker::open(&url, Topology::default()).await?;
    let queues = match args.queue {
        Some(queue) => vec![queue],
        None => SUBSCRIPTIONS.iter().map(|subscription| subscription.queue.to_owned()).collect(),
    };
    let letters = look(&broker, &queues).await?;
    match args.action {
        Action::List { json, reveal } => show::list(&letters, json, reveal)?,
        Action::Show { id, json, reveal } => {
            // A message can be dead in several queues.
            for letter in chosen(&letters, &[id])? {
                show::one(letter, json, reveal)?;
            }
        }
        Action::Replay { which } => replay(&broker, &queues, &letters, which).await?,
        Action::Purge { which, yes } => purge(&broker, &queues, &letters, which, yes).await?,
    }
    broker.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn look(broker: &Broker, queues: &[String]) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    for queue in queues {
        let found = broker.dead_letters(queue, LIMIT).await;
        letters
            .extend(found.with_context(|| format!("can't look at the dead letters of {queue}"))?);
    }
    letters.sort_by_key(|letter| std::cmp::Reverse(letter.history.last_failed_at));
    Ok(letters)
}

/// The letters with these ids.
///
/// # Errors
/// Names the ids of which there is none.
fn chosen<'l>(letters: &'l [DeadLetter], ids: &[Uuid]) -> anyhow::Result<Vec<&'l DeadLetter>> {
    let unknown: Vec<String> = ids
        .iter()
        .filter(|id| !letters.iter().any(|letter| letter.id == **id))
        .map(ToString::to_string)
        .collect();
    if !unknown.is_empty() {
        bail!("no dead letter has the id {}", unknown.join(", "));
    }
    Ok(letters.iter().filter(|letter| ids.contains(&letter.id)).collect())
}

impl Which {
    /// What is meant, if it is there.
    fn select(self, letters: &[DeadLetter]) -> anyhow::Result<Selection> {
        if self.all {
            return Ok(Selection::All);
        }
        chosen(letters, &self.ids)?;
        Ok(Selection::Ids(self.ids))
    }
}

async fn replay(
    broker: &Broker,
    queues: &[String],
    letters: &[DeadLetter],
    which: Which,
) -> anyhow::Result<()> {
    let selection = which.select(letters)?;
    let mut count = 0;
    for queue in queues_of(letters, queues, &selection) {
        let replayed = broker.replay(queue, &selection).await;
        for letter in replayed.with_context(|| format!("after {count} replayed, in {queue}"))? {
            say(format_args!(
                "replayed {} to {} ({})",
                letter.id, letter.queue, letter.routing_key
            ));
            count += 1;
        }
    }
    say(format_args!("{count} replayed"));
    Ok(())
}

async fn purge(
    broker: &Broker,
    queues: &[String],
    letters: &[DeadLetter],
    which: Which,
    yes: bool,
) -> anyhow::Result<()> {
    let selection = which.select(letters)?;
    if !yes {
        let count = letters.iter().filter(|letter| selects(&selection, letter)).count();
        bail!("this would throw away {count} dead letters for good; add --yes if you mean it");
    }
    let mut count = 0;
    for queue in queues_of(letters, queues, &selection) {
        let purged = broker.purge(queue, &selection).await;
        for letter in purged.with_context(|| format!("after {count} purged, in {queue}"))? {
            say(format_args!("purged {} of {} ({})", letter.id, letter.queue, letter.routing_key));
            count += 1;
        }
    }
    say(format_args!("{count} purged"));
    Ok(())
}

fn selects(selection: &Selection, letter: &DeadLetter) -> bool {
    match selection {
        Selection::All => true,
        Selection::Ids(ids) => ids.contains(&letter.id),
    }
}

/// The queues in which something is selected.
fn queues_of<'q>(
    letters: &[DeadLetter],
    queues: &'q [String],
    selection: &Selection,
) -> impl Iterator<Item = &'q String> {
    queues.iter().filter(move |queue| {
        letters.iter().any(|letter| letter.queue == **queue && selects(selection, letter))
    })
}
