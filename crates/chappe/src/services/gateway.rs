//! The gateway: what every port of the process can be reached through.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway::{Dependencies, Options, Route, UpstreamService};

use super::row::{Drain, Phase, Row, ServiceHandle, ServiceJoin, Stage, Started, Starting};
use crate::change::Change;
use crate::config::{Config, ConfiguredService, Section, SectionOptions};
use crate::error_table::configuration;

pub(super) static ROW: Row = Row {
    // Files, and every service through one port.
    section: Section::of::<Options>("gateway", Some(8080), None),
    title: "Gateway",
    routes: &[],
    rules: None,
    made_key_bytes: None,
    phase: Phase::Front,
    drain: Drain { stage: Stage::Storage, closes_listener_first: false, what: "the gateway" },
    admin_shortcuts: &[],
    on_own_port: |service| service,
    runs: |_| Ok(()),
    describe: |error| error.is::<gateway::RouteError>().then_some(&configuration::SERVICE_INVALID),
    start: |starting| Box::pin(async move { start(starting) }),
};

impl SectionOptions for Options {
    fn resolve_paths(&mut self, base: &Path) {
        for folder in self.routes.iter_mut().filter_map(|route| route.directory.as_mut()) {
            *folder = base.join(&*folder);
        }
    }

    fn validate(&self, section: &str, targets: &[String]) -> Result<(), String> {
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        self.targets(&targets).map(drop).map_err(|error| format!("[[{section}.routes]]: {error}"))
    }

    fn folders(&self) -> Vec<(String, PathBuf)> {
        let folder = |route: &Route| Some((route.path.clone(), route.directory.clone()?));
        self.routes.iter().filter_map(folder).collect()
    }
}

fn start(starting: Starting<'_>) -> anyhow::Result<Started> {
    let configured: Options = starting.options();
    let about = about(&configured, &starting);
    let defaults = starting.default_routes.to_vec();
    let targets: Vec<String> = starting.upstreams.keys().cloned().collect();
    let options = with_default_routes(&configured, &defaults, &targets);
    let dependencies = Dependencies { upstreams: starting.upstreams.clone() };
    let (service, handle, join) = gateway::start(&options, dependencies, starting.metrics)?;
    Ok(Started {
        service: UpstreamService::new(service),
        handle: Arc::new(Handle { gateway: handle, defaults, targets }),
        join: Box::new(join),
        parts: Vec::new(),
        about,
    })
}

/// A running gateway, with the values that complete its configured routes.
struct Handle {
    gateway: gateway::Handle,
    defaults: Vec<(&'static str, &'static str)>,
    targets: Vec<String>,
}

impl ServiceHandle for Handle {
    fn prepare(&self, options: &dyn SectionOptions) -> Result<Change, String> {
        let configured =
            options.as_any().downcast_ref::<Options>().expect("a row has the options of its section");
        let options = with_default_routes(configured, &self.defaults, &self.targets);
        self.gateway.prepare_routes(&options).map(Change::new).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl ServiceJoin for gateway::Join {
    async fn drain(self: Box<Self>, _: Duration) {
        gateway::Join::drain(*self).await;
    }
}

/// What the gateway serves: files if a route's folder exists, and the services that run.
fn about(configured: &Options, starting: &Starting<'_>) -> String {
    let files = configured.folders().iter().any(|(_, folder)| folder.is_dir());
    let files = files.then_some("files");
    // One route per service is enough here.
    let mut told = Vec::new();
    let routes = starting.default_routes.iter().filter_map(|(path, target)| {
        let is_first = !told.contains(target);
        told.push(*target);
        (is_first && *target != "chappe" && starting.upstreams.contains_key(*target)).then_some(*path)
    });
    files.into_iter().chain(routes).collect::<Vec<_>>().join(", ")
}

/// The routes of each gateway of this configuration, by its name, with the default ones.
pub(crate) fn effective_routes(config: &Config, table: &[&Row]) -> Vec<(String, Options)> {
    let defaults: Vec<(&'static str, &'static str)> = table
        .iter()
        .flat_map(|row| row.routes.iter().filter_map(|path| Some((*path, row.section.target?))))
        .collect();
    let runs = |service: &&ConfiguredService| {
        let row = table.iter().find(|row| row.section.name == service.section.name);
        row.is_some_and(|row| (row.runs)(config).is_ok())
    };
    let running = config.services.iter().filter(runs);
    let targets: Vec<String> = running.filter_map(ConfiguredService::target).collect();
    let gateways = config.services.iter().filter_map(|service| {
        let options = service.options.as_any().downcast_ref::<Options>()?;
        Some((service.id.to_string(), with_default_routes(options, &defaults, &targets)))
    });
    gateways.collect()
}

/// The configured routes, and the default routes of every gateway whose paths are not configured.
fn with_default_routes(
    configured: &Options,
    defaults: &[(&'static str, &'static str)],
    targets: &[String],
) -> Options {
    let is_there = |target: &str| targets.iter().any(|known| known == target);
    let runs = |route: &Route| route.service.as_ref().is_none_or(|service| is_there(service));
    let (mut routes, idle): (Vec<Route>, Vec<Route>) = configured.routes.iter().cloned().partition(runs);
    for route in idle {
        tracing::warn!(
            path = route.path,
            service = route.service,
            "this route leads nowhere: the service does not run"
        );
    }
    for (path, folder) in configured.folders().iter().filter(|(_, folder)| !folder.is_dir()) {
        tracing::warn!("{}", missing_folder(path, folder));
    }
    for (path, target) in defaults {
        let taken = routes.iter().any(|route| route.path.trim_end_matches('/') == *path);
        if !taken && is_there(target) {
            routes.push(Route::to_service(path, target));
        }
    }
    Options { routes }
}

/// The warning, in `check` and at the start, for a route whose folder does not exist.
pub(crate) fn missing_folder(route: &str, folder: &Path) -> String {
    format!(
        "[[gateway.routes]]: the route {route:?} leads to the folder {}, which does not exist; make it, or correct `directory`",
        folder.display()
    )
}
