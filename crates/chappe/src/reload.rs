//! A changed configuration, applied to a process that runs: as far as that is possible, and the rest is named.
//!
//! What can be applied says so in its doc comment (`Reloads.`), from which the schema and `docs/configuration.md` have it. A wrong
//! configuration changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use toml::Value;

use crate::config::schema::Marks;
use crate::config::show::{flattened, unnamed};
use crate::config::{Config, ServiceId};
use crate::guard::Guard;
use crate::plan::{FileState, Plan, PlanError, Replan, file_state};
use crate::services::ServiceHandle;
use crate::signals::Hangups;
use crate::telemetry::LevelHandle;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Applies changes of the configuration. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reloader(Arc<Shared>);

struct Shared {
    replan: Replan,
    /// The values that count: those of the start, and those that were applied since.
    current: Mutex<BTreeMap<String, Value>>,
    marks: Marks,
    running: Vec<(ServiceId, Arc<dyn ServiceHandle>)>,
    guard: Guard,
    log: LevelHandle,
}

/// What became of a changed configuration.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Options whose new values count from now on.
    pub(crate) applied: BTreeSet<String>,
    /// Options whose new values count after a restart.
    pub(crate) restart: BTreeSet<String>,
    /// Options that could not be applied, each with the reason; the old values count.
    pub(crate) failed: BTreeMap<String, String>,
}

impl Reloader {
    pub(crate) fn new(
        plan: &Plan,
        running: Vec<(ServiceId, Arc<dyn ServiceHandle>)>,
        guard: Guard,
        log: LevelHandle,
    ) -> Self {
        let current = Mutex::new(values(&plan.config));
        let (replan, marks) = (Arc::clone(&plan.replan), Marks::of_schema());
        Self(Arc::new(Shared { replan, current, marks, running, guard, log }))
    }

    /// Reads the configuration again, from the sources of the start, and applies what has changed.
    ///
    /// # Errors
    ///
    /// If it is wrong; nothing was changed then.
    pub(crate) async fn reload(&self) -> Result<Report, PlanError> {
        let shared = &self.0;
        // One at a time: the report of each is about what it found.
        let mut current = shared.current.lock().await;
        let plan = (shared.replan)().inspect_err(|error| {
            tracing::error!("the configuration was not reloaded, and the process goes on as it is: {error}");
        })?;
        let new = values(&plan.config);
        let mut report = Report::default();
        let mut changed: BTreeMap<Group, Vec<String>> = BTreeMap::new();
        for path in current.keys().chain(new.keys()).filter(|path| current.get(*path) != new.get(*path)) {
            match self.group(path, &plan.config) {
                Some(group) => changed.entry(group).or_default().push(path.clone()),
                None => drop(report.restart.insert(path.clone())),
            }
        }
        for (group, paths) in changed {
            let applied = self.apply(&group, &plan.config);
            for path in paths {
                match &applied {
                    Ok(()) => {
                        match new.get(&path) {
                            Some(value) => drop(current.insert(path.clone(), value.clone())),
                            None => drop(current.remove(&path)),
                        }
                        report.applied.insert(path);
                    }
                    Err(why) => drop(report.failed.insert(path, why.clone())),
                }
            }
        }
        report.log();
        Ok(report)
    }

    /// With what a changed option is applied; `None` where that takes a restart.
    fn group(&self, path: &str, config: &Config) -> Option<Group> {
        let names: Vec<(String, &str)> = config
            .services
            .iter()
            .filter(|service| !service.id.is_default())
            .map(|service| (format!("{}.", service.id), service.id.service))
            .collect();
        if !self.0.marks.reloads(&unnamed(&names, path)) {
            return None;
        }
        if path == "telemetry.level" {
            return Some(Group::Level);
        }
        if path.starts_with("guard.") {
            return Some(Group::Guard);
        }
        let running = self.0.running.iter().map(|(id, _)| id);
        let of = running.filter(|id| path.starts_with(&format!("{id}.")));
        // `realtime.chat.x` belongs to `realtime.chat`, although it begins with `realtime` too.
        of.max_by_key(|id| id.to_string().len()).map(|id| Group::Service(id.clone()))
    }

    fn apply(&self, group: &Group, config: &Config) -> Result<(), String> {
        match group {
            Group::Level => self.0.log.set(&config.telemetry.level),
            Group::Guard => {
                self.0.guard.set(&config.guard);
                Ok(())
            }
            Group::Service(id) => {
                let handle = self.0.running.iter().find(|(running, _)| running == id);
                let options = config.services.iter().find(|service| service.id == *id);
                match (handle, options) {
                    (Some((_, handle)), Some(service)) => handle.reload(&*service.options),
                    _ => Err("it does not run any more".to_owned()),
                }
            }
        }
    }

    /// Reloads when the process is told to (SIGHUP), and when the file is no longer as it was at `first`. Never ends.
    pub(crate) async fn follow(
        &self,
        hangups: &mut Hangups,
        file: &Path,
        first: FileState,
        watches_file: bool,
    ) {
        let mut seen = first;
        let mut pending = None;
        loop {
            tokio::select! {
                () = hangups.next() => {
                    tracing::info!("asked to reload the configuration");
                    // Wrong or not, it was logged.
                    let _ = self.reload().await;
                }
                () = tokio::time::sleep(LOOK_EVERY), if watches_file => {
                    let state = file_state(file);
                    // Reloaded when it has stopped changing: an editor may write it in pieces.
                    if pending.take().is_some_and(|pending| pending == state) {
                        seen = state;
                        tracing::info!(file = %file.display(), "the configuration file has changed");
                        let _ = self.reload().await;
                    } else if state != seen {
                        pending = Some(state);
                    }
                }
            }
        }
    }
}

/// Options that are applied together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Level,
    Guard,
    Service(ServiceId),
}

impl Report {
    fn log(&self) {
        if *self == Self::default() {
            tracing::info!("the configuration was reloaded; nothing has changed");
            return;
        }
        let join = |paths: &BTreeSet<String>| paths.iter().cloned().collect::<Vec<_>>().join(", ");
        tracing::info!(
            applied = join(&self.applied),
            restart = join(&self.restart),
            "the configuration was reloaded"
        );
        if !self.restart.is_empty() {
            tracing::warn!("changed options that count after a restart only: {}", join(&self.restart));
        }
        for (path, why) in &self.failed {
            tracing::error!("{path} was not changed: {why}");
        }
    }
}

/// Every value by its path.
fn values(config: &Config) -> BTreeMap<String, Value> {
    flattened(&config.to_table()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An option that is marked as reloadable must be applied, and tested in `tests/it/reload.rs`.
    #[test]
    fn the_options_that_reload_are_those_that_are_applied() {
        let marks = Marks::of_schema();
        let found: Vec<&str> = marks.reloadable().collect();
        let expected = [
            "functions.cors_credentials",
            "functions.cors_exposed_headers",
            "functions.cors_origins",
            "gateway.routes",
            "guard.hosts",
            "guard.trusted_proxies",
            "guard.trusted_proxy_secret",
            "telemetry.level",
        ];
        assert_eq!(found, expected);
    }
}
