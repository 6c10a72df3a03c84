//! Finds and reads the configuration that `chappe gateway` works with.

use std::path::{Path, PathBuf};

use ocelot::{ConfigurationFile, OcelotConfiguration};

use crate::cli::{FuncArgs, SharedArgs};
use crate::command_error::CommandError;
use crate::error_table::configuration;
use crate::plan::Plan;
use crate::services;

/// A configuration with gateway routes.
pub(super) enum RouteSource {
    /// Of Ocelot.
    Ocelot(Box<OcelotConfiguration>),
    /// `chappe.toml`: each gateway with its name and its routes, the default ones included.
    Own(Vec<(String, gateway::Options)>),
}

impl RouteSource {
    /// Reads `path`, or what the current folder has. `environment` names the file of a folder that Ocelot does not merge.
    pub(super) fn read(path: Option<&Path>, environment: &str) -> anyhow::Result<Self> {
        let path = path.unwrap_or(Path::new("."));
        if !path.is_dir() {
            return if path.extension().is_some_and(|extension| extension == "toml") {
                own(path)
            } else {
                ocelot(&[path.to_owned()])
            };
        }
        let single = path.join("ocelot.json");
        if single.is_file() {
            return ocelot(&[single]);
        }
        let parts = parts(path, environment)?;
        if !parts.is_empty() {
            return ocelot(&parts);
        }
        let own_file = path.join("chappe.toml");
        if own_file.is_file() {
            return own(&own_file);
        }
        let text = format!(
            "{} has neither ocelot.json nor ocelot.NAME.json nor chappe.toml; name the file",
            path.display()
        );
        Err(CommandError::new(&configuration::FILE_UNREADABLE, text).into())
    }
}

/// The files that Ocelot merges, in the order of their names.
fn parts(folder: &Path, environment: &str) -> Result<Vec<PathBuf>, CommandError> {
    let unreadable = |error: std::io::Error| unreadable(folder, &error);
    let skipped = format!("ocelot.{environment}.json");
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if ConfigurationFile::is_part(name) && !name.eq_ignore_ascii_case(&skipped) {
            parts.push(entry.path());
        }
    }
    parts.sort();
    Ok(parts)
}

fn ocelot(paths: &[PathBuf]) -> anyhow::Result<RouteSource> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
        files.push(ConfigurationFile { name, text });
    }
    let read = OcelotConfiguration::read(&files)
        .map_err(|error| CommandError::new(&configuration::CHECK, error.to_string()))?;
    Ok(RouteSource::Ocelot(Box::new(read)))
}

fn own(file: &Path) -> anyhow::Result<RouteSource> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shared = SharedArgs {
        config: Some(file.to_owned()),
        // Routes can be looked at without an app.
        no_functions: !folder.join("host.json").is_file(),
        ..SharedArgs::default()
    };
    let sections = services::sections(services::TABLE);
    let plan = Plan::check(sections, folder, &shared, &FuncArgs::default())?;
    Ok(RouteSource::Own(services::effective_routes(&plan.config, services::TABLE)))
}

fn unreadable(path: &Path, error: &std::io::Error) -> CommandError {
    let text = format!("cannot read {}: {error}", path.display());
    CommandError::new(&configuration::FILE_UNREADABLE, text)
}
