//! [`Row`]: everything that the process knows of a service before it runs, and the three interfaces of a running service.

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

/// A service of this process. A new service needs one crate and one row.
pub(crate) struct Row {
    /// Its section in `chappe.toml`, and its default port.
    pub(crate) section: Section,
    /// Its name in the lines printed at the start.
    pub(crate) title: &'static str,
    /// Paths that every gateway routes to it unless they are configured otherwise. `section.target` is its name in routes.
    pub(crate) routes: &'static [&'static str],
    /// The audience of its paths; `None`: the service guards its own requests.
    pub(crate) rules: Option<&'static Rules>,
    /// Length in bytes of the key generated for it on first start if other machines can connect; `None`: it has no key.
    pub(crate) made_key_bytes: Option<usize>,
    /// When it starts.
    pub(crate) phase: Phase,
    /// How it drains.
    pub(crate) drain: Drain,
    /// Operations that the admin API also has at `/chappe/api/<name>`, in addition to `/chappe/api/<service>/<name>`.
    pub(crate) admin_shortcuts: &'static [&'static str],
    /// Marks requests received on its own port.
    pub(crate) on_own_port: fn(UpstreamService) -> UpstreamService,
    /// Whether it runs; `Err` has the reason why it does not, and what to do.
    pub(crate) runs: fn(&Config) -> Result<(), &'static str>,
    /// The description of an error of its start; `None` if the error is another service's.
    pub(crate) describe: fn(&(dyn Error + 'static)) -> Option<&'static ErrorDescription>,
    pub(crate) start: StartFunction,
}

/// Starts a service.
pub(crate) type StartFunction =
    for<'a> fn(Starting<'a>) -> std::pin::Pin<Box<dyn Future<Output = anyhow::Result<Started>> + 'a>>;

/// When a service starts; within a phase, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Before ports are bound: its stored data may be damaged or in use.
    Storage,
    /// When the addresses of all services are known.
    Apps,
    /// When every service that it routes to has started.
    Front,
}

/// How a service drains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) stage: Stage,
    /// Whether its listener closes at the start of the drain, before the others, so that callers go to another process immediately.
    pub(crate) closes_listener_first: bool,
    /// Its name in the log while the process waits for it.
    pub(crate) what: &'static str,
}

/// When a service drains; within a stage, in the order in which services started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Clients are asked to reconnect before the listeners close, so that their first attempt is not refused.
    Connections,
    /// Running work ends, in the remaining time for connections.
    Work,
    /// After the listeners have closed: nothing is written any more.
    Storage,
}

/// What all services of the process share.
pub(crate) struct Resources {
    pub(crate) tracer: Tracer,
    pub(crate) store: state_embedded::Store,
    pub(crate) egress: egress::Client,
    pub(crate) bodies: Budget,
}

/// What a service needs to start.
pub(crate) struct Starting<'a> {
    pub(crate) id: &'a ServiceId,
    /// Its options, with the key generated for it.
    pub(crate) options: Box<dyn SectionOptions>,
    pub(crate) config: &'a Config,
    /// The folder of the function app.
    pub(crate) app: &'a Path,
    /// The environment at the start.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// Whether this is a check: the app is loaded, and nothing runs.
    pub(crate) only_checks: bool,
    pub(crate) data: &'a OpenData,
    pub(crate) resources: &'a Resources,
    /// The supervisor; its parts distinguish this service from others of its kind.
    pub(crate) supervisor: Supervisor,
    pub(crate) metrics: &'a mut Registry,
    /// The services that started earlier, guarded, by their names in routes.
    pub(crate) upstreams: &'a BTreeMap<String, UpstreamService>,
    /// The default routes of every gateway, as path and name.
    pub(crate) default_routes: &'a [(&'static str, &'static str)],
    pub(crate) addresses: &'a Addresses,
    /// The services that triggers and bindings call without a socket.
    pub(crate) embedded: &'a mut Embedded,
    /// The admin API, after it has started.
    pub(crate) admin: &'a mut Option<admin::Handle>,
}

impl Starting<'_> {
    /// The options as their concrete type.
    pub(crate) fn options<O: Clone + 'static>(&self) -> O {
        let options = self.options.as_any().downcast_ref::<O>();
        options.expect("a row starts with the options that its section reads").clone()
    }
}

/// A running service, by its three interfaces: for requests, for callers in this process, and for draining.
pub(crate) struct Started {
    pub(crate) service: UpstreamService,
    pub(crate) handle: Arc<dyn ServiceHandle>,
    pub(crate) join: Box<dyn ServiceJoin>,
    /// Its parts of the data folder, with their ids.
    pub(crate) parts: Vec<(DataPart, String)>,
    /// What it serves, shown beside its address.
    pub(crate) about: String,
}

/// What the process asks of a running service.
#[async_trait]
pub(crate) trait ServiceHandle: Send + Sync {
    /// Its operations, mounted at a path of the admin API; `None` if it has none.
    fn admin(&self, _mount: &str) -> Option<UpstreamService> {
        None
    }

    /// What it reports in `/chappe/api/info`.
    async fn info(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Prepares the options that may change while it runs. `options` were validated, include the key generated for the service, and
    /// differ from those of the start only in options marked as reloadable.
    ///
    /// # Errors
    ///
    /// If they cannot be applied; nothing changes then.
    fn prepare(&self, _options: &dyn SectionOptions) -> Result<Change, String> {
        Err("this service has no options that may change while it runs".to_owned())
    }

    /// Waits until the service knows what it runs, and lists that for people; `base` is its address. `None` if there is nothing to
    /// list.
    async fn listing(&self, _base: &str) -> Option<String> {
        None
    }

    /// Checks what it would run, and returns the problems.
    async fn check(&self) -> Findings {
        Findings::default()
    }
}

/// Drains a service.
#[async_trait]
pub(crate) trait ServiceJoin: Send {
    /// Returns when it has ended; connections and work end after `limit` at the latest.
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

/// The result of `chappe check`.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The problems; each says what to do.
    pub(crate) problems: Vec<Problem>,
    /// The functions that can run.
    pub(crate) functions: Vec<String>,
}
