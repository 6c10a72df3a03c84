//! [`Row`]: everything that the process knows of a service before it runs, and the three faces of one that runs.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway::UpstreamService;
use http_messages::{Budget, ErrorDescription};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use supervision::Supervisor;
use trace::Tracer;

use crate::admin;
use crate::change::Change;
use crate::config::{Config, Section, SectionOptions, ServiceId};
use crate::data_folder::{DataPart, OpenData};
use crate::guard::Rules;
use crate::ports::Addresses;
use crate::wiring::Embedded;

/// A service of this process. A new one is one crate and one row.
pub(crate) struct Row {
    /// Its section in `chappe.toml`, and its default port.
    pub(crate) section: Section,
    /// Its name among the lines that a person reads at the start.
    pub(crate) title: &'static str,
    /// Paths that every gateway leads to it unless they are configured otherwise. `section.target` is its name in routes.
    pub(crate) routes: &'static [&'static str],
    /// Whom its paths are for; `None`: its requests are guarded further in.
    pub(crate) rules: Option<&'static Rules>,
    /// How long the key is that is made for it on first start, in bytes, where other machines can connect; `None`: it has no key.
    pub(crate) made_key_bytes: Option<usize>,
    /// When it is started.
    pub(crate) phase: Phase,
    /// How it ends.
    pub(crate) drain: Drain,
    /// Operations that the admin API has at `/chappe/api/<name>` too, not only at `/chappe/api/<service>/<name>`.
    pub(crate) admin_shortcuts: &'static [&'static str],
    /// Marks requests that came in on its own port.
    pub(crate) on_own_port: fn(UpstreamService) -> UpstreamService,
    /// Whether it is to run; `Err` says why not, and what to do.
    pub(crate) runs: fn(&Config) -> Result<(), &'static str>,
    /// The description of an error of its start; `None` for an error of another service.
    pub(crate) describe: fn(&(dyn Error + 'static)) -> Option<&'static ErrorDescription>,
    pub(crate) start: StartFunction,
}

/// Starts a service.
pub(crate) type StartFunction =
    for<'a> fn(Starting<'a>) -> std::pin::Pin<Box<dyn Future<Output = anyhow::Result<Started>> + 'a>>;

/// When a service is started; within a phase, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Before ports are bound: what it keeps on disk may turn out to be damaged or in use.
    Storage,
    /// When the addresses of all services are known.
    Apps,
    /// When every service that it leads to has been started.
    Front,
}

/// How a service ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) stage: Stage,
    /// Whether its listener closes when the drain begins, so that callers go to another process at once, and not with the others.
    pub(crate) closes_listener_first: bool,
    /// What the log calls it while it is waited for.
    pub(crate) what: &'static str,
}

/// When a service drains; within a stage, in the order in which they were started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Clients are told to come back before the listeners close, so that none of them meets a refused port first.
    Connections,
    /// Work that is under way ends, in what is left of the time for connections.
    Work,
    /// After the listeners have closed: nothing writes any more.
    Storage,
}

/// What all services of the process share.
pub(crate) struct Resources {
    pub(crate) tracer: Tracer,
    pub(crate) store: state_embedded::Store,
    pub(crate) egress: egress::Client,
    pub(crate) bodies: Budget,
}

/// What a service is started with.
pub(crate) struct Starting<'a> {
    pub(crate) id: &'a ServiceId,
    /// Its options, with the key that was made for it.
    pub(crate) options: Box<dyn SectionOptions>,
    pub(crate) config: &'a Config,
    /// The folder of the function app.
    pub(crate) app: &'a Path,
    /// The environment as it was at the start.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// Whether nothing is to run: the app is only looked at.
    pub(crate) only_checks: bool,
    pub(crate) data: &'a OpenData,
    pub(crate) resources: &'a Resources,
    /// The supervisor, by whose parts this service is told from others of its kind.
    pub(crate) supervisor: Supervisor,
    pub(crate) metrics: &'a mut Registry,
    /// The services that were started before, guarded, by the names that routes call them by.
    pub(crate) upstreams: &'a BTreeMap<String, UpstreamService>,
    /// The routes that every gateway has, as path and name.
    pub(crate) default_routes: &'a [(&'static str, &'static str)],
    pub(crate) addresses: &'a Addresses,
    /// The services that triggers and bindings reach without a socket.
    pub(crate) embedded: &'a mut Embedded,
    /// The admin API, from when it has been started.
    pub(crate) admin: &'a mut Option<admin::Handle>,
}

impl Starting<'_> {
    /// The options, of their own type.
    pub(crate) fn options<O: Clone + 'static>(&self) -> O {
        let options = self.options.as_any().downcast_ref::<O>();
        options.expect("a row starts with the options that its section reads").clone()
    }
}

/// A service that runs, by its three faces: for requests, for callers in this process, and for the end.
pub(crate) struct Started {
    pub(crate) service: UpstreamService,
    pub(crate) handle: Arc<dyn ServiceHandle>,
    pub(crate) join: Box<dyn ServiceJoin>,
    /// Its parts of the data folder, with their ids.
    pub(crate) parts: Vec<(DataPart, String)>,
    /// What people find there, beside its address.
    pub(crate) about: String,
}

/// What the process asks of a service that runs.
#[async_trait]
pub(crate) trait ServiceHandle: Send + Sync {
    /// Its operations, mounted at a path of the admin API; `None` where it has none.
    fn admin(&self, _mount: &str) -> Option<UpstreamService> {
        None
    }

    /// What `/chappe/api/info` tells of it.
    async fn info(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Prepares the options that may change while it runs. `options` were validated, have the key that was made for the service, and
    /// differ from those of the start only in options that are marked as reloadable.
    ///
    /// # Errors
    ///
    /// If they cannot be applied; nothing is changed.
    fn prepare(&self, _options: &dyn SectionOptions) -> Result<Change, String> {
        Err("this service has no options that may change while it runs".to_owned())
    }

    /// Waits until it is known what it runs, and lists that for people; `base` is its address. `None` where there is nothing to list.
    async fn listing(&self, _base: &str) -> Option<String> {
        None
    }

    /// Finds what is wrong with what it would run.
    async fn check(&self) -> Findings {
        Findings::default()
    }
}

/// Ends a service.
#[async_trait]
pub(crate) trait ServiceJoin: Send {
    /// Returns when it has ended, for connections and work after `limit` at the latest.
    async fn drain(self: Box<Self>, limit: Duration);
}

/// A problem that `chappe check` found.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The stable code of the error.
    pub(crate) code: &'static str,
    /// What happened, why, and what to do.
    pub(crate) text: String,
}

/// What `chappe check` finds.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What is wrong; each says what to do.
    pub(crate) problems: Vec<Problem>,
    /// The functions that can run.
    pub(crate) functions: Vec<String>,
}
