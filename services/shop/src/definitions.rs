//! `shop definitions`: what a RabbitMQ must have where the services may declare nothing.

use std::{process::ExitCode, time::Duration};

use broker::Topology;
use contracts::{PUBLICATIONS, SENDERS, SUBSCRIPTIONS, Subscription};

use crate::terminal::say;

/// `shop definitions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
deploy/rabbitmq/definitions.json is what this prints.

Load it into a RabbitMQ that runs: `rabbitmqctl import_definitions FILE`.
Before 4.1.4, if it uses Khepri, first without `topic_permissions`: see deploy/rabbitmq/define.sh.
Nobody can log in before a password is set: `rabbitmqctl change_password USER PASSWORD`.
The services' broker URLs then end in ?declare=false.")]
pub(crate) struct Args {
    /// The services' delays before further attempts: each has a queue of its own
    #[arg(
        long,
        env = "RETRY_DELAYS",
        value_name = "DURATIONS",
        value_delimiter = ',',
        value_parser = humantime::parse_duration,
        default_value = runtime::RETRY_DELAYS
    )]
    retry_delays: Vec<Duration>,

    /// With a subscriber that came later
    #[arg(long, value_name = "SERVICE")]
    with: Vec<Later>,
}

/// The subscribers that came later.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Later {
    Fraud,
}

impl Later {
    const fn subscription(self) -> Subscription {
        match self {
            Self::Fraud => fraud::SUBSCRIPTION,
        }
    }
}

/// Prints them.
///
/// # Errors
/// When they can't be written as JSON.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let later = args.with.into_iter().map(Later::subscription);
    let subscriptions = SUBSCRIPTIONS.iter().copied().chain(later).collect();
    let topology = Topology { subscriptions, retry_delays: args.retry_delays, history: true };
    say(broker::definitions(&topology, PUBLICATIONS, SENDERS)?.trim_end());
    Ok(ExitCode::SUCCESS)
}
