//! What the kernel says of processes: their CPU time and their memory, from `/proc`.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
};

use anyhow::Context as _;

use crate::measured::{Cores, Resident};

/// Linux tells times in hundredths of a second.
const TICKS: f64 = 100.0;
/// Bytes of a KB as the kernel means it, in MB.
const KIB: f64 = 1_024.0 / 1_000_000.0;

/// Processes with names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes(BTreeMap<String, Watched>);

#[derive(Debug, Clone, Copy)]
enum Watched {
    /// One process.
    One(u32),
    /// A process with all that descend from it, those that have ended included: a database has one per connection.
    Family(u32),
}

/// CPU seconds by name.
pub(crate) type Cpu = BTreeMap<String, f64>;

impl Processes {
    /// Adds a process.
    pub(crate) fn one(&mut self, name: &str, pid: u32) {
        self.0.insert(name.to_owned(), Watched::One(pid));
    }

    /// Adds a process with all that descend from it.
    pub(crate) fn family(&mut self, name: &str, pid: u32) {
        self.0.insert(name.to_owned(), Watched::Family(pid));
    }

    /// CPU seconds that each has used in its life.
    ///
    /// # Errors
    /// When one isn't there any more.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        let all = stats().context("reading /proc")?;
        let cpu = |watched: &Watched| match watched {
            Watched::One(pid) => all.get(pid).map(|stat| stat.own),
            // The time of a child that has ended is added to its parent's.
            Watched::Family(root) => all.contains_key(root).then(|| {
                family(&all, *root).iter().filter_map(|pid| all.get(pid)).map(Stat::whole).sum()
            }),
        };
        self.0
            .iter()
            .map(|(name, watched)| {
                let cpu = cpu(watched).with_context(|| format!("{name} isn't there any more"))?;
                Ok((name.clone(), cpu))
            })
            .collect()
    }

    /// The memory of each; `idle` is what it was before. A family shares much: each of its processes counts for its part of
    /// what is shared.
    ///
    /// # Errors
    /// When one isn't there any more, or belongs to somebody else.
    pub(crate) fn memory(
        &self,
        idle: &BTreeMap<String, Resident>,
    ) -> anyhow::Result<BTreeMap<String, Resident>> {
        let mut memory = BTreeMap::new();
        for (name, watched) in &self.0 {
            let now = match watched {
                Watched::One(pid) => status(*pid).with_context(|| format!("memory of {name}"))?,
                Watched::Family(root) => {
                    let after = family(&stats()?, *root).iter().map(|pid| share(*pid)).sum();
                    Resident { after, ..Resident::default() }
                }
            };
            let idle = idle.get(name).map_or(now.after, |before| before.after);
            memory.insert(name.clone(), Resident { idle, ..now });
        }
        Ok(memory)
    }
}

/// What each used from one reading to the next.
pub(crate) fn used(before: &Cpu, after: &Cpu) -> Cpu {
    let since = |name: &String, now: &f64| now - before.get(name).copied().unwrap_or_default();
    after.iter().map(|(name, now)| (name.clone(), since(name, now))).collect()
}

/// CPU seconds of all cores since the machine was started.
///
/// # Errors
/// When the kernel doesn't say.
pub(crate) fn cores() -> anyhow::Result<Cores> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, irq, softirq, stolen, ..] = ticks[..] else {
        anyhow::bail!("/proc/stat has another form than expected");
    };
    Ok(Cores { busy: (user + nice + system + irq + softirq) / TICKS, stolen: stolen / TICKS })
}

impl std::ops::Sub for Cores {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { busy: self.busy - before.busy, stolen: self.stolen - before.stolen }
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    parent: u32,
    /// CPU seconds of its threads, those that have ended included.
    own: f64,
    /// CPU seconds of its children that have ended.
    ended: f64,
}

impl Stat {
    fn whole(&self) -> f64 {
        self.own + self.ended
    }

    /// Reads the line. The name, in parentheses, may hold anything.
    fn read(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let seconds = |n: usize| Some(fields.get(n)?.parse::<f64>().ok()? / TICKS);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(11)? + seconds(12)?,
            ended: seconds(13)? + seconds(14)?,
        })
    }
}

/// All processes.
fn stats() -> io::Result<BTreeMap<u32, Stat>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(line) => all.extend(Stat::read(&line).map(|stat| (pid, stat))),
            // It ended meanwhile. (ESRCH, between opening and reading, has no kind of its own.)
            Err(error)
                if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// A process and all that descend from it.
fn family(all: &BTreeMap<u32, Stat>, root: u32) -> Vec<u32> {
    let mut family = vec![root];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

/// The memory of one process.
fn status(pid: u32) -> anyhow::Result<Resident> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name| field(&text, name).with_context(|| format!("no {name}"));
    let after = field("VmRSS:")?;
    Ok(Resident { idle: after, after, anonymous: field("RssAnon:")?, peak: field("VmHWM:")? })
}

/// The memory of a process, its part of what it shares with others counted; zero when it just ended.
fn share(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    field(&text, "Pss:").unwrap_or_default()
}

/// A size in a list of them, in MB.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = "7 (a) b (c)) S 3 7 7 0 -1 0 0 0 0 0 100 50 25 5 20 0 1 0 0";
        assert_eq!(Stat::read(line), Some(Stat { parent: 3, own: 1.5, ended: 0.3 }));
        assert_eq!(Stat::read("nonsense"), None);
    }

    #[test]
    fn a_family_is_all_generations() {
        let stat = |parent| Stat { parent, own: 1.0, ended: 0.0 };
        let all = BTreeMap::from([(2, stat(1)), (3, stat(2)), (4, stat(3)), (5, stat(1))]);
        assert_eq!(family(&all, 2), [2, 3, 4]);
    }

    #[test]
    fn this_process_has_time_and_memory() {
        let mut processes = Processes::default();
        processes.one("this", std::process::id());
        processes.family("family", std::process::id());
        let cpu = processes.cpu().unwrap();
        assert!(cpu["family"] >= cpu["this"]);
        let memory = processes.memory(&BTreeMap::new()).unwrap();
        assert!(memory["this"].peak >= memory["this"].after && memory["this"].after > 1.0);
        assert!(cores().unwrap().busy > 0.0);
    }

    #[test]
    fn who_is_gone_is_named() {
        let mut processes = Processes::default();
        processes.one("nobody", u32::MAX);
        assert!(processes.cpu().unwrap_err().to_string().contains("nobody"));
    }
}
