//! One container of the stack, as `docker inspect` shows it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{docker::docker, stack::Stack};

/// The image whose `kill` ends the main process of another container. Any of the stack's with a shell would do.
const KILLER: &str = "postgres";

/// A container at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) inspected: Value,
}

/// The networks that a container was cut off from, each with the names that it had there.
#[derive(Debug)]
pub(crate) struct Cut {
    container: String,
    networks: Vec<(String, Vec<String>)>,
}

impl Container {
    pub(crate) fn id(&self) -> &str {
        self.inspected["Id"].as_str().unwrap_or_default()
    }

    fn label(&self, name: &str) -> &str {
        let label = &self.inspected["Config"]["Labels"][format!("com.docker.compose.{name}")];
        label.as_str().unwrap_or_default()
    }

    pub(crate) fn service(&self) -> &str {
        self.label("service")
    }

    /// The service's name, for its further replicas with their number: `payment`, `payment.2`.
    pub(crate) fn name(&self) -> String {
        match self.label("container-number") {
            "" | "1" => self.service().to_owned(),
            number => format!("{}.{number}", self.service()),
        }
    }

    /// Whether it was made by `docker compose run`.
    pub(crate) fn is_of_a_command(&self) -> bool {
        self.label("oneoff") == "True"
    }

    /// When it was started.
    pub(crate) fn started_at(&self) -> &str {
        self.inspected["State"]["StartedAt"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.inspected["State"]["Health"]["Status"] == "healthy"
    }

    /// How often Docker has started it again.
    pub(crate) fn restarts(&self) -> u64 {
        self.inspected["RestartCount"].as_u64().unwrap_or_default()
    }

    /// Where a port of it is on this machine, `127.0.0.1:32768`.
    pub(crate) fn published(&self, port: u16) -> Result<String> {
        let bound = &self.inspected["NetworkSettings"]["Ports"][format!("{port}/tcp")][0];
        let (host, port) = (bound["HostIp"].as_str(), bound["HostPort"].as_str());
        let bound = host.zip(port).map(|(host, port)| format!("{host}:{port}"));
        bound.with_context(|| format!("port {port:?} of {} is not published", self.name()))
    }

    /// Kills its main process as a crash would, so that it is the restart policy's turn.
    ///
    /// `docker kill` would not do: Docker takes that for somebody's wish that the container stop, and then doesn't start it
    /// again. So a process in the machine's own process namespace sends the signal.
    pub(crate) async fn crash(&self, stack: Stack) -> Result<()> {
        let pid = self.inspected["State"]["Pid"].as_i64().filter(|pid| *pid > 0);
        let pid = pid.with_context(|| format!("{} doesn't run", self.name()))?;
        let kill = format!("kill -9 {pid}");
        let image = stack.image(KILLER).await?;
        let words = ["--pid=host", "--network=none", "--user=0", "--entrypoint=sh", &image, "-c"];
        docker(&[&["run", "--rm"], &words[..], &[&kill]].concat()).await?;
        Ok(())
    }

    /// Cuts it off from all its networks.
    pub(crate) async fn cut_off(&self) -> Result<Cut> {
        let joined = self.inspected["NetworkSettings"]["Networks"].as_object();
        let joined = joined.filter(|networks| !networks.is_empty());
        let joined = joined.with_context(|| format!("{} is in no network", self.name()))?;
        let names = |settings: &Value| -> Vec<String> {
            let aliases = settings["Aliases"].as_array().into_iter().flatten();
            aliases.filter_map(|alias| alias.as_str().map(str::to_owned)).collect()
        };
        let mut cut = Cut { container: self.id().to_owned(), networks: Vec::new() };
        for (network, settings) in joined {
            let names = names(settings);
            ensure!(names.iter().any(|name| name == self.service()), "names of {}", self.name());
            docker(&["network", "disconnect", network, self.id()]).await?;
            cut.networks.push((network.clone(), names));
        }
        Ok(cut)
    }
}

impl Cut {
    /// Connects it again, under the names that it had.
    pub(crate) async fn mend(self) -> Result<()> {
        for (network, names) in &self.networks {
            let mut words = vec!["network", "connect"];
            words.extend(names.iter().flat_map(|name| ["--alias", name]));
            words.extend([network.as_str(), &self.container]);
            docker(&words).await?;
        }
        Ok(())
    }
}
