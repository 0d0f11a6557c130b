//! Measuring the same several times over.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    measured::{Measured, Rate},
    process::{Cpu, Processes, used},
};

/// What the measurements of the parts have in common.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Rounds {
    /// RabbitMQ
    #[arg(long, env = "AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) amqp: String,

    /// Messages in a round
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub(crate) messages: usize,

    /// How often it is measured
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) rounds: usize,

    /// PostgreSQL's first process, for the CPU time of it and its children
    #[arg(long, value_name = "PID")]
    postgres: Option<u32>,

    /// RabbitMQ's
    #[arg(long, value_name = "PID")]
    rabbitmq: Option<u32>,
}

/// The measurements so far.
#[derive(Debug)]
pub(crate) struct Measurements {
    name: String,
    processes: Processes,
    per_second: Vec<f64>,
    messages: usize,
    cpu: Cpu,
}

impl Rounds {
    /// Nothing measured yet.
    pub(crate) fn of(&self, name: &str) -> Measurements {
        let mut processes = Processes::default();
        processes.one("this", std::process::id());
        for (name, pid) in [("postgres", self.postgres), ("rabbitmq", self.rabbitmq)] {
            if let Some(pid) = pid {
                processes.family(name, pid);
            }
        }
        Measurements {
            name: name.to_owned(),
            processes,
            per_second: Vec::new(),
            messages: 0,
            cpu: BTreeMap::new(),
        }
    }
}

impl Measurements {
    /// Measures once more: `work` handles so many messages, and says how long that took.
    ///
    /// # Errors
    /// Those of the work; and when a process isn't there any more.
    pub(crate) async fn add(
        &mut self,
        messages: usize,
        work: impl Future<Output = anyhow::Result<Duration>>,
    ) -> anyhow::Result<()> {
        let before = self.processes.cpu()?;
        let took = work.await?;
        let after = self.processes.cpu()?;
        let rate = messages as f64 / took.as_secs_f64();
        eprintln!("{}: {messages} messages in {took:.2?}, {rate:.0} per second", self.name);
        self.per_second.push(rate);
        self.messages += messages;
        for (name, seconds) in used(&before, &after) {
            *self.cpu.entry(name).or_default() += seconds;
        }
        Ok(())
    }

    /// What it came to.
    pub(crate) fn rate(self) -> Measured {
        let thousands = self.messages as f64 / 1_000.0;
        let cpu_per_1000 = self.cpu.into_iter().map(|(name, s)| (name, s / thousands)).collect();
        let unit = "messages".to_owned();
        Measured::Rate(Rate { name: self.name, unit, per_second: self.per_second, cpu_per_1000 })
    }
}
