//! A whole system of a test's own: five processes on free ports, with databases and a broker namespace that nobody else has.

mod books;
mod operator;
mod process;
mod turn;
mod view;

use std::{collections::BTreeMap, ops::Deref, path::PathBuf, time::Duration};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::{TestDatabase, shop::Shop};

use process::Process;
pub(crate) use testkit::{
    free_port,
    shop::{Checkout, Customers, Placed, assorted, checkout, new_key, plain},
    wait::{eventually, within},
};
use turn::Turn;

/// What the services stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// SQLite and the jobs table.
    Embedded,
    /// PostgreSQL and RabbitMQ.
    Servers,
}

/// What the services stand on, and who coordinates the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) ground: Ground,
    pub(crate) style: &'static str,
}

impl Setup {
    pub(crate) const EMBEDDED: Self = Self { ground: Ground::Embedded, style: "choreography" };
    pub(crate) const SERVERS: Self = Self { ground: Ground::Servers, style: "choreography" };

    /// With sagas.
    pub(crate) const fn orchestrated(self) -> Self {
        Self { style: "orchestration", ..self }
    }
}

/// The shop's services.
pub(crate) const SERVICES: [&str; 4] = ["order", "payment", "inventory", "email"];

/// Whether the environment names the servers; says so when it doesn't.
#[expect(clippy::disallowed_methods, reason = "tests have no config.rs")]
pub(crate) fn have_servers() -> bool {
    testkit::amqp_url().is_some() && std::env::var("DATABASE_URL").is_ok_and(|url| !url.is_empty())
}

/// How a system is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    setup: Setup,
    broker: Option<String>,
    databases: BTreeMap<String, String>,
    chaos: bool,
    alone: bool,
    env: BTreeMap<String, Vec<(String, String)>>,
    replicas: usize,
    styles: Vec<&'static str>,
}

/// A running system.
pub(crate) struct System {
    plan: Plan,
    folder: PathBuf,
    databases: BTreeMap<String, String>,
    broker: String,
    ports: BTreeMap<String, u16>,
    smtp: u16,
    processes: BTreeMap<String, Process>,
    shop: Shop,
    made: Vec<TestDatabase>,
    own_namespace: bool,
    _turn: Turn,
}

impl Plan {
    /// A system on this set-up, with short retry delays.
    pub(crate) fn new(setup: Setup) -> Self {
        let plan = Self {
            setup,
            broker: None,
            databases: BTreeMap::new(),
            chaos: false,
            alone: false,
            env: BTreeMap::new(),
            replicas: 1,
            styles: vec![setup.style],
        };
        plan.env("all", "RETRY_DELAYS", "100ms,300ms,1s,3s")
    }

    /// Gives a service (or `all`) an environment variable.
    pub(crate) fn env(mut self, service: &str, name: &str, value: &str) -> Self {
        self.env.entry(service.to_owned()).or_default().push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses this broker instead of a namespace of the one in the environment.
    pub(crate) fn broker(mut self, url: &str) -> Self {
        self.broker = Some(url.to_owned());
        self
    }

    /// Uses this database for a service instead of a new one.
    pub(crate) fn database(mut self, service: &str, url: &str) -> Self {
        self.databases.insert(service.to_owned(), url.to_owned());
        self
    }

    /// Delivers every message three times, in a random order.
    pub(crate) fn chaos(mut self) -> Self {
        self.chaos = true;
        self
    }

    /// Has the orders of a load coordinated in either event style, in turn.
    pub(crate) fn mixed(mut self) -> Self {
        self.styles = vec!["choreography", "orchestration"];
        self
    }

    /// Starts when no other test's system runs, and lets none start: for a test that measures.
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Runs so many of each service.
    pub(crate) fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Starts it, and waits until it takes checkouts.
    pub(crate) async fn start(self) -> System {
        let system = self.launch().await;
        system.ready().await;
        system
    }

    /// Starts it, and waits for nothing.
    pub(crate) async fn launch(self) -> System {
        let turn = Turn::wait(self.alone).await;
        let folder =
            std::env::temp_dir().join(format!("shop-e2e-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut system = System {
            databases: self.databases.clone(),
            broker: String::new(),
            ports: BTreeMap::new(),
            smtp: free_port(),
            processes: BTreeMap::new(),
            shop: Shop::default(),
            made: Vec::new(),
            own_namespace: false,
            folder,
            plan: self,
            _turn: turn,
        };
        system.shop.set_styles(&system.plan.styles);
        system.make_stores().await;
        for name in system.names() {
            let port = free_port();
            system.shop.set_url(&name, format!("http://127.0.0.1:{port}"));
            system.ports.insert(name, port);
        }
        for name in system.names() {
            system.start_service(&name, &[]);
        }
        system
    }
}

impl System {
    async fn make_stores(&mut self) {
        for service in SERVICES {
            if self.databases.contains_key(service) {
                continue;
            }
            let url = match self.plan.setup.ground {
                Ground::Embedded => self.sqlite(service),
                Ground::Servers => {
                    let database = testkit::postgres_database().await.expect("DATABASE_URL");
                    let url = database.url.clone();
                    self.made.push(database);
                    url
                }
            };
            self.databases.insert(service.to_owned(), url);
        }
        self.own_namespace =
            self.plan.setup.ground == Ground::Servers && self.plan.broker.is_none();
        self.broker = match (&self.plan.broker, self.plan.setup.ground) {
            (Some(url), _) => url.clone(),
            (None, Ground::Embedded) => self.sqlite("broker"),
            (None, Ground::Servers) => testkit::amqp_url().expect("AMQP_URL"),
        };
    }

    fn sqlite(&self, name: &str) -> String {
        format!("sqlite://{}", self.folder.join(format!("{name}.db")).display())
    }

    /// The processes' names: `payment`, its replica `payment.1`, …, and `sandbox`.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec!["sandbox".to_owned()];
        for replica in 0..self.plan.replicas {
            for service in SERVICES {
                names.push(if replica == 0 {
                    service.to_owned()
                } else {
                    format!("{service}.{replica}")
                });
            }
        }
        names
    }

    /// The broker's URL, as the services have it.
    pub(crate) fn broker_url(&self) -> String {
        if !self.plan.chaos {
            return self.broker.clone();
        }
        let separator = if self.broker.contains('?') { '&' } else { '?' };
        format!("{}{separator}chaos=3", self.broker)
    }

    /// The URL of a service's database.
    pub(crate) fn database_url(&self, service: &str) -> &str {
        &self.databases[service]
    }

    /// Starts a process (again, on its port and its data), with further environment variables.
    pub(crate) fn start_service(&mut self, name: &str, env: &[(&str, &str)]) {
        let service = name.split('.').next().unwrap_or(name);
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: String| settings.push((name.to_owned(), value));
        let listen = format!("127.0.0.1:{}", self.ports[name]);
        if service == "sandbox" {
            set("SANDBOX_LISTEN", listen);
            set("SANDBOX_SMTP_LISTEN", format!("127.0.0.1:{}", self.smtp));
            set("SANDBOX_DATA", self.folder.join("sandbox").display().to_string());
        } else {
            set("LISTEN", listen);
            set("DATABASE_URL", self.databases[service].clone());
            set("BROKER_URL", self.broker_url());
            for (name, service) in
                [("PAYMENT_URL", "payment"), ("INVENTORY_URL", "inventory"), ("EMAIL_URL", "email")]
            {
                set(name, self.url(service).to_owned());
            }
            set("PROCESSOR_URL", self.url("sandbox").to_owned());
            set("SMTP_URL", format!("smtp://127.0.0.1:{}", self.smtp));
        }
        for group in ["all", service, name] {
            for (name, value) in self.plan.env.get(group).into_iter().flatten() {
                set(name, value.clone());
            }
        }
        for (name, value) in env {
            set(name, (*value).to_owned());
        }
        let log = self.folder.join(format!("{name}.log"));
        self.processes.insert(name.to_owned(), Process::start(service, &settings, log));
    }

    /// Waits until every process is ready and every product can be bought.
    pub(crate) async fn ready(&self) {
        for name in self.names() {
            self.service_ready(&name).await;
        }
        eventually("the prices reach the order service", || async {
            // Products are looked at before coupons, so this says whether all are known, and places nothing.
            let mut body = checkout("mug-blue", 1);
            let skus = self.stocks().await.into_keys();
            body["items"] = skus.map(|sku| json!({"sku": sku, "quantity": 1})).collect();
            body["coupon"] = json!("NO-SUCH-COUPON");
            let answer: Value = self.post_checkout(&body).await.ok()?.json().await.ok()?;
            (answer["errors"][0]["field"] == "coupon").then_some(())
        })
        .await;
    }

    /// Waits until one process is ready.
    pub(crate) async fn service_ready(&self, name: &str) {
        let path = if name == "sandbox" { "livez" } else { "readyz" };
        let url = format!("{}/{path}", self.url(name));
        eventually(&format!("{name} is ready"), || async {
            self.http().get(&url).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
    }

    /// Waits until a service says that the broker delivers to it (1), or that it doesn't (0).
    pub(crate) async fn is_connected(&self, name: &str, connected: f64) {
        within(Duration::from_secs(30), &format!("{name} is connected: {connected}"), || async {
            let gauge = self.metric(name, "shop_consumer_connected", "").await?;
            (gauge == connected).then_some(())
        })
        .await;
    }

    /// Checks that every process still runs: they are started by tests only, never anew by themselves.
    pub(crate) fn all_run(&mut self) {
        for (name, process) in &mut self.processes {
            process.assert_running(name);
        }
    }

    /// Kills a process with SIGKILL.
    pub(crate) async fn kill(&mut self, name: &str) {
        self.processes.remove(name).expect("it runs").kill().await;
    }

    /// Freezes a process, as a machine that stands still would.
    pub(crate) fn freeze(&self, name: &str) {
        self.processes[name].signal(Signal::SIGSTOP);
    }

    /// Lets a frozen process go on.
    pub(crate) fn thaw(&self, name: &str) {
        self.processes[name].signal(Signal::SIGCONT);
    }

    /// Waits until a process has died by SIGKILL, by itself.
    pub(crate) async fn wait_for_crash(&mut self, name: &str) {
        self.processes.remove(name).expect("it was started").wait_for_crash(name).await;
    }

    /// Tells a process to stop, and waits until it has, in order.
    pub(crate) async fn stop_service(&mut self, name: &str) {
        self.processes.remove(name).expect("it runs").terminate(name).await;
    }

    /// The broker, for a test that looks behind the curtain.
    pub(crate) async fn broker(&self) -> broker::Broker {
        broker::Broker::open(&self.broker, self.topology()).await.unwrap()
    }

    fn topology(&self) -> broker::Topology {
        let delays = self.plan.env.values().flatten().filter(|(name, _)| name == "RETRY_DELAYS");
        let retry_delays =
            delays.flat_map(|(_, value)| value.split(',').map(view::duration)).collect();
        broker::Topology {
            subscriptions: contracts::SUBSCRIPTIONS.to_vec(),
            retry_delays,
            history: true,
        }
    }
}

/// A system is a shop, seen from behind the counter too.
impl Deref for System {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.names() {
                let log = std::fs::read_to_string(self.folder.join(format!("{name}.log")));
                let log = log.unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(8)..].join("\n");
                eprintln!("--- the end of {name}'s log\n{tail}");
            }
        }
        self.processes.clear();
        if self.own_namespace {
            let (url, topology) = (self.broker.clone(), self.topology());
            // A destructor can't await, so a thread does.
            let deleting = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(testkit::delete_queues(&url, &topology))
            });
            if !matches!(deleting.join(), Ok(Ok(()))) {
                eprintln!("the test's queues were not deleted");
            }
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
