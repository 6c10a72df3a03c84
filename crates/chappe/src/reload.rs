//! Applies a changed configuration to the running process as far as possible, and reports the options that need a restart.
//!
//! An option that may change is marked in its doc comment (`Reloads.`), which the schema and `docs/configuration.md` show, and a
//! [`ReloadPart`] applies it. A reload is atomic: every part prepares its change first, and if one cannot, nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use toml::{Table, Value};

use crate::change::Change;
use crate::config::schema::OptionAttributes;
use crate::config::show::{flattened, unnamed};
use crate::config::{Config, ServiceId};
use crate::plan::{FileState, Plan, PlanError, Replan, file_state};
use crate::signals::Hangups;

/// How often the files are checked for changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Applies changes of the configuration. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reloader(Arc<Shared>);

struct Shared {
    replan: Replan,
    current: Mutex<Current>,
    /// The checked files, each with its state when it was last read.
    watched: StdMutex<Vec<(PathBuf, FileState)>>,
    marks: OptionAttributes,
    parts: Vec<ReloadPart>,
}

/// The values in effect: those of the start, and those applied since.
struct Current {
    values: Table,
    services: Vec<ServiceId>,
    contents: BTreeMap<String, u64>,
}

/// A part of the process that can apply changes of its options.
pub(crate) struct ReloadPart {
    /// The section of its options, such as `edge` or `realtime.chat`.
    pub(crate) section: String,
    pub(crate) prepare: Prepare,
}

/// Checks the options of a part and prepares the change; `Err` has the reason why it is not possible.
pub(crate) type Prepare = Box<dyn Fn(&Config) -> Result<Change, String> + Send + Sync>;

/// The result of a reload.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Options whose new values are in effect.
    pub(crate) applied: BTreeSet<String>,
    /// Options whose new values take effect after a restart.
    pub(crate) restart: BTreeSet<String>,
}

/// Why a changed configuration was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The configuration is wrong.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A part cannot apply it.
    #[error("{origin}: {option}: {why}")]
    Rejected {
        /// Where the new value came from.
        origin: String,
        /// The first of the changed options.
        option: String,
        why: String,
    },
}

impl Reloader {
    pub(crate) fn new(plan: &Plan, parts: Vec<ReloadPart>) -> Self {
        Self(Arc::new(Shared {
            replan: Arc::clone(&plan.replan),
            current: Mutex::new(Current::of(&plan.config)),
            watched: StdMutex::new(plan.watched.clone()),
            marks: OptionAttributes::of_schema(),
            parts,
        }))
    }

    /// Reads the configuration again, from the sources of the start, and applies the changes.
    ///
    /// # Errors
    ///
    /// If it is wrong or cannot be applied; nothing changes then.
    pub(crate) async fn reload(&self) -> Result<Report, ReloadError> {
        // One at a time: each report covers the changes that it found.
        let mut current = self.0.current.lock().await;
        let result = self.reload_from(&mut current).await;
        match &result {
            Ok(report) => report.log(),
            Err(error) => {
                tracing::error!("the configuration was not reloaded and nothing was changed: {error}");
            }
        }
        result
    }

    async fn reload_from(&self, current: &mut Current) -> Result<Report, ReloadError> {
        let shared = &self.0;
        // Before it is read: a file that changes meanwhile is read again.
        let states = states(&self.watched());
        let plan = (shared.replan)().inspect_err(|_| self.set_watched(states))?;
        self.set_watched(plan.watched.clone());
        let new = Current::of(&plan.config);
        let services: BTreeSet<&ServiceId> = current.services.iter().chain(&new.services).collect();
        let part_of = |path: &str| shared.part_of(path, &services);
        let mut report = Report::default();
        let mut by_part: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for path in changed(current, &new) {
            match part_of(&path) {
                Some(part) => by_part.entry(part).or_default().push(path),
                None => drop(report.restart.insert(path)),
            }
        }
        let values = merged(&current.values, &new.values, "", &|path| part_of(path).is_some());
        let config = plan.layers.read_values(&values).map_err(|why| ReloadError::Rejected {
            origin: "the options that can change at a reload".to_owned(),
            option: "with the others as they are".to_owned(),
            why,
        })?;
        let mut changes = Vec::new();
        for (part, paths) in &by_part {
            let change = (shared.parts[*part].prepare)(&config).map_err(|why| {
                let origin = paths.iter().find_map(|path| plan.layers.origin(path));
                let origin = origin.map_or_else(|| "default".to_owned(), ToString::to_string);
                ReloadError::Rejected { origin, option: paths[0].clone(), why }
            })?;
            changes.push(change);
        }
        for change in changes {
            change.apply().await;
        }
        report.applied = by_part.into_values().flatten().collect();
        current.values = values;
        current.contents = new.contents;
        Ok(report)
    }

    /// Reloads on SIGHUP, and when one of the files has changed. Never returns.
    pub(crate) async fn follow(&self, hangups: &mut Hangups, watches_files: bool) {
        let mut pending = None;
        loop {
            tokio::select! {
                () = hangups.next() => {
                    tracing::info!("asked to reload the configuration");
                    // The result was logged, also if it is an error.
                    let _ = self.reload().await;
                }
                () = tokio::time::sleep(LOOK_EVERY), if watches_files => {
                    let watched = self.watched();
                    let now = states(&watched);
                    let Some((changed, _)) = now.iter().zip(&watched).find(|(now, read)| now != read).map(|(now, _)| now)
                    else {
                        pending = None;
                        continue;
                    };
                    // Reload after the file has stopped changing: an editor may write it in several steps.
                    if pending.as_ref() == Some(&now) {
                        tracing::info!(file = %changed.display(), "a file of the configuration has changed");
                        let _ = self.reload().await;
                        pending = None;
                    } else {
                        pending = Some(now);
                    }
                }
            }
        }
    }

    fn watched(&self) -> Vec<(PathBuf, FileState)> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_watched(&self, watched: Vec<(PathBuf, FileState)>) {
        *self.0.watched.lock().unwrap_or_else(PoisonError::into_inner) = watched;
    }
}

impl Shared {
    /// The part that applies a changed option; `None` if the option needs a restart.
    fn part_of(&self, path: &str, services: &BTreeSet<&ServiceId>) -> Option<usize> {
        let names: Vec<(String, &str)> =
            services.iter().filter(|id| !id.is_default()).map(|id| (format!("{id}."), id.service)).collect();
        if !self.marks.reloads(&unnamed(&names, path)) {
            return None;
        }
        // `realtime.chat.x` belongs to `realtime.chat` although it also begins with `realtime`, even if that service does not run.
        let sections = self.parts.iter().map(|part| part.section.clone());
        let sections = sections.chain(names.iter().map(|(name, _)| name.trim_end_matches('.').to_owned()));
        let is_in = |section: &String| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        let section = sections.filter(is_in).max_by_key(String::len)?;
        self.parts.iter().position(|part| part.section == section)
    }
}

impl Current {
    fn of(config: &Config) -> Self {
        // The reader of the file reports the error.
        let content = |(path, file): (String, PathBuf)| Some((path, digest(&std::fs::read(file).ok()?)));
        Self {
            values: config.to_table(),
            services: config.services.iter().map(|service| service.id.clone()).collect(),
            contents: config.files().into_iter().filter_map(content).collect(),
        }
    }
}

/// The options that differ, in value or in the content of the file that they name.
fn changed(old: &Current, new: &Current) -> BTreeSet<String> {
    fn differing<V: PartialEq>(old: BTreeMap<String, V>, new: BTreeMap<String, V>) -> BTreeSet<String> {
        let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        paths.into_iter().filter(|path| old.get(*path) != new.get(*path)).cloned().collect()
    }
    let values = |table: &Table| flattened(table).into_iter().collect::<BTreeMap<String, Value>>();
    let mut changed = differing(values(&old.values), values(&new.values));
    changed.extend(differing(old.contents.clone(), new.contents.clone()));
    changed
}

/// The values of `old`, with those of `new` for options that a reload applies.
fn merged(old: &Table, new: &Table, above: &str, reloads: &dyn Fn(&str) -> bool) -> Table {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut result = Table::new();
    for key in keys {
        let path = format!("{above}{key}");
        let value = match (old.get(key), new.get(key)) {
            (_, value) if reloads(&path) => value.cloned(),
            (Some(Value::Table(old)), Some(Value::Table(new))) => {
                Some(Value::Table(merged(old, new, &format!("{path}."), reloads)))
            }
            (value, _) => value.cloned(),
        };
        if let Some(value) = value {
            result.insert(key.clone(), value);
        }
    }
    result
}

/// The files with their current states.
fn states(watched: &[(PathBuf, FileState)]) -> Vec<(PathBuf, FileState)> {
    watched.iter().map(|(file, _)| (file.clone(), file_state(file))).collect()
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
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
            tracing::warn!("these changed options need a restart: {}", join(&self.restart));
        }
    }
}

#[cfg(test)]
mod tests;
