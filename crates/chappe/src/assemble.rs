//! Starts everything: each service of the table gets its dependencies and a listener.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::{DevAuthority, Listener, LiveOptions, TlsConfig};
use gateway::UpstreamService;
use http_messages::{Budget, error_chain};
use prometheus_client::registry::Registry;
use supervision::{Component, Supervisor};
use trace::Tracer;

use crate::admin;
use crate::change::Change;
use crate::config::{Config, ConfiguredService, SectionOptions, ServiceId, TlsSection};
use crate::data_folder::{DataPart, OpenData};
use crate::guard::Guard;
use crate::keys;
use crate::plan::Plan;
use crate::ports::{Addresses, Ports};
use crate::ready::{Ready, ReadyService};
use crate::reload::{Prepare, ReloadPart};
use crate::services::{
    self, Phase, Resources, Row, ServiceHandle, ServiceJoin, Stage, Started, Starting, Table,
};
use crate::trust;
use crate::wiring::Embedded;

/// The time that remains for work even if the connections used the whole limit.
const WORK_DRAIN_MIN: Duration = Duration::from_secs(1);

/// Everything that runs, and what is needed to end it.
pub(crate) struct Process {
    /// Listeners with their services, not yet serving.
    pub(crate) served: Vec<ServedListener>,
    pub(crate) ready_line: Ready,
    pub(crate) supervisor: Supervisor,
    /// Ready while the process serves and was not asked to end.
    pub(crate) component: Component,
    pub(crate) services: Vec<RunningService>,
    pub(crate) resources: Resources,
    pub(crate) guard: Guard,
    pub(crate) admin: Option<admin::Handle>,
    data: OpenData,
    /// The limits of each listener, and whether it closes first.
    limits: Vec<(LiveOptions, bool)>,
    tls: TlsConfig,
    keys: Arc<keys::GeneratedKeys>,
}

/// A listener with its service.
pub(crate) struct ServedListener {
    pub(crate) id: ServiceId,
    pub(crate) listener: Listener,
    pub(crate) service: UpstreamService,
    /// Whether it closes at the start of the drain, before the others.
    pub(crate) closes_first: bool,
}

/// A running service.
pub(crate) struct RunningService {
    pub(crate) id: ServiceId,
    row: &'static Row,
    pub(crate) handle: Arc<dyn ServiceHandle>,
    join: Option<Box<dyn ServiceJoin>>,
    /// The guarded service that listeners and routes call.
    service: UpstreamService,
    about: String,
}

impl RunningService {
    /// Its name in the log while the process waits for it.
    fn what(&self) -> String {
        let what = self.row.drain.what;
        self.id.name.as_ref().map_or_else(|| what.to_owned(), |name| format!("{what} '{name}'"))
    }
}

impl Process {
    /// Drains the services of a stage, in the order in which they started. `told` receives the name of the service that is waited
    /// for.
    pub(crate) async fn drain_stage(&mut self, stage: Stage, limit: Duration, mut told: impl FnMut(&str)) {
        let of_stage = self.services.iter_mut().filter(|service| service.row.drain.stage == stage);
        for service in of_stage {
            let Some(join) = service.join.take() else { continue };
            told(&service.what());
            join.drain(limit).await;
        }
    }

    /// Drains all services: connections within one limit, work in the remaining time, then storage. Awaits `listeners` before
    /// storage.
    pub(crate) async fn drain_services(
        &mut self,
        limit: Duration,
        mut told: impl FnMut(&str),
        listeners: impl Future<Output = ()>,
    ) {
        let began = Instant::now();
        self.drain_stage(Stage::Connections, limit, &mut told).await;
        let left = limit.saturating_sub(began.elapsed()).max(WORK_DRAIN_MIN);
        self.drain_stage(Stage::Work, left, &mut told).await;
        told("requests that run");
        listeners.await;
        self.drain_stage(Stage::Storage, limit, &mut told).await;
    }

    /// The parts that apply changed options while the process runs.
    pub(crate) fn parts(&self) -> Vec<ReloadPart> {
        let part = |section: &str, prepare: Prepare| ReloadPart { section: section.to_owned(), prepare };
        let (guard, limits) = (self.guard.clone(), self.limits.clone());
        let (certificate, data_dir) = (self.tls.clone(), self.data.path().to_owned());
        let mut parts = vec![
            part("guard", Box::new(move |config| Ok(guard.prepare(&config.guard)))),
            part("edge", Box::new(move |config| Ok(prepare_limits(&limits, config)))),
            part(
                "tls",
                Box::new(move |config| {
                    let (new, _) =
                        tls(&config.tls, &data_dir).map_err(|error| error_chain(error.as_ref()))?;
                    let certificate = certificate.clone();
                    Ok(Change::new(move || certificate.replace(&new)))
                }),
            ),
        ];
        for service in &self.services {
            let (id, handle, keys) =
                (service.id.clone(), Arc::clone(&service.handle), Arc::clone(&self.keys));
            let prepare = move |config: &Config| {
                let service = config.services.iter().find(|service| service.id == id);
                let service = service.ok_or_else(|| format!("{id} is no longer configured"))?;
                handle.prepare(&*with_generated_key(service, &keys))
            };
            parts.push(part(&service.id.to_string(), Box::new(prepare)));
        }
        parts
    }

    /// Closes the store, then removes an ephemeral folder: only now, because nothing is written any more.
    pub(crate) async fn close(self) {
        self.resources.store.close().await;
        drop(self.data.into_temporary());
    }
}

/// Opens the stored data, starts the services, and binds the ports. No connection is accepted yet.
pub(crate) async fn assemble(plan: &Plan, table: Table) -> anyhow::Result<Process> {
    let config = &plan.config;
    let mut metrics = Registry::with_prefix("chappe");
    let supervisor = Supervisor::new(&mut metrics);
    let component = supervisor.component("process");
    let mut data = OpenData::open(plan.data_dir.as_deref(), &plan.accept_loss)?;
    let resources = open_resources(config, &data, &supervisor, &mut metrics)?;
    let (tls, authority) = tls(&config.tls, data.path())?;
    let guard = Guard::new(config, &mut metrics);
    let edge_metrics = edge::Metrics::register(&mut metrics);
    let keys = Arc::new(generated_keys(config, table, &data)?);
    let mut assembly =
        Assembly::new(plan, table, &guard, (&resources, &supervisor), Arc::clone(&keys), &mut metrics);
    assembly.start(Phase::Storage, &data).await?;
    note_parts(&mut data, &resources, assembly.parts())?;
    let running: Vec<&ConfiguredService> = assembly.wanted().map(|(service, _)| service).collect();
    let mut ports =
        if plan.only_checks { Ports::default() } else { Ports::bind(running, config.is_development())? };
    assembly.addresses = ports.addresses();
    assembly.start(Phase::Apps, &data).await?;
    assembly.start(Phase::Front, &data).await?;
    let Assembly { services, addresses, admin, .. } = assembly;
    let ready_line = Ready {
        services: config
            .services
            .iter()
            .map(|service| ready(service, table, &services, &addresses))
            .collect(),
        public_url: config.public_url.clone(),
        data_dir: plan.data_dir.as_ref().map(|_| data.path().to_owned()),
        authority,
        shows_https: plan.shows_https,
    };
    if let Some(admin) = &admin {
        let report = admin::AdminState {
            ready_line: ready_line.facts(),
            supervisor: supervisor.clone(),
            tracer: resources.tracer.clone(),
            services: services.iter().map(mounted).collect(),
            off: config.services.iter().filter_map(|service| switched_off(service, table, config)).collect(),
        };
        admin.open(report, metrics);
    }
    let quotas = quotas(&config.edge, ports.count());
    let listen = |service: &RunningService| {
        let listener = ports.remove(&service.id)?.with_quotas(&quotas).with_metrics(&edge_metrics);
        Some(serve(service, listener.with_tls(tls.clone()), &guard, config))
    };
    let served: Vec<ServedListener> = services.iter().filter_map(listen).collect();
    let limits = served.iter().map(|served| (served.listener.live_options(), served.closes_first)).collect();
    Ok(Process {
        served,
        ready_line,
        supervisor,
        component,
        services,
        resources,
        guard,
        admin,
        data,
        limits,
        tls,
        keys,
    })
}

/// What all services share: the journal and the registry in the data folder, body limits, the client for outgoing requests.
fn open_resources(
    config: &Config,
    data: &OpenData,
    supervisor: &Supervisor,
    metrics: &mut Registry,
) -> anyhow::Result<Resources> {
    let accept_loss = state_embedded::AcceptLoss {
        journal: data.accepts(&DataPart::Journal),
        registry: data.accepts(&DataPart::Registry),
    };
    let options = state_embedded::Options { accept_loss, ..config.state.clone() };
    let store = state_embedded::Store::open_supervised(data.path().join("state"), &options, supervisor)?;
    store.register_metrics(metrics);
    let component = supervisor.component("state files");
    component.set_ready();
    store.when_damaged(move |why| component.set_not_ready(why));
    let bodies = Budget::new(config.bodies.clone(), data.path(), http_messages::Metrics::register(metrics));
    let egress = egress::Client::new(&config.egress, &egress::Metrics::register(metrics))?;
    Ok(Resources {
        tracer: Tracer::new(config.telemetry.spans_max),
        store,
        egress: egress.with_bodies(bodies.clone()),
        bodies,
    })
}

/// Checks that the opened parts belong to this data folder.
fn note_parts(
    data: &mut OpenData,
    resources: &Resources,
    of_services: Vec<(DataPart, String)>,
) -> anyhow::Result<()> {
    let parts = resources.store.parts();
    let mut all = vec![(DataPart::Journal, parts.journal), (DataPart::Registry, parts.registry)];
    all.extend(of_services);
    Ok(data.note(all)?)
}

/// The services that have started so far.
struct Assembly<'a> {
    plan: &'a Plan,
    table: Table,
    guard: &'a Guard,
    resources: &'a Resources,
    supervisor: &'a Supervisor,
    metrics: &'a mut Registry,
    keys: Arc<keys::GeneratedKeys>,
    services: Vec<RunningService>,
    parts: Vec<(DataPart, String)>,
    /// The services by their names in routes.
    upstreams: BTreeMap<String, UpstreamService>,
    addresses: Addresses,
    embedded: Embedded,
    admin: Option<admin::Handle>,
}

impl<'a> Assembly<'a> {
    fn new(
        plan: &'a Plan,
        table: Table,
        guard: &'a Guard,
        (resources, supervisor): (&'a Resources, &'a Supervisor),
        keys: Arc<keys::GeneratedKeys>,
        metrics: &'a mut Registry,
    ) -> Self {
        Self {
            plan,
            table,
            guard,
            resources,
            supervisor,
            metrics,
            keys,
            services: Vec::new(),
            parts: Vec::new(),
            upstreams: BTreeMap::new(),
            addresses: Addresses::default(),
            embedded: Embedded::default(),
            admin: None,
        }
    }

    /// The services that will run, with their rows.
    fn wanted(&self) -> impl Iterator<Item = (&'a ConfiguredService, &'static Row)> + use<'a> {
        let (config, table) = (&self.plan.config, self.table);
        let rows =
            config.services.iter().map(move |service| (service, services::row(table, service.section)));
        rows.filter(|(_, row)| (row.runs)(config).is_ok())
    }

    fn parts(&mut self) -> Vec<(DataPart, String)> {
        std::mem::take(&mut self.parts)
    }

    /// Starts the services of a phase, each behind its guard.
    async fn start(&mut self, phase: Phase, data: &OpenData) -> anyhow::Result<()> {
        let default_routes: Vec<(&str, &str)> = self
            .table
            .iter()
            .flat_map(|row| row.routes.iter().filter_map(|path| Some((*path, row.section.target?))))
            .collect();
        let wanted: Vec<_> = self.wanted().filter(|(_, row)| row.phase == phase).collect();
        for (service, row) in wanted {
            let options = with_generated_key(service, &self.keys);
            let label = service.id.to_string();
            let is_default = service.id.is_default();
            let (supervisor, metrics) = if is_default {
                (self.supervisor.clone(), &mut *self.metrics)
            } else {
                let labelled = self.metrics.sub_registry_with_label(("service".into(), label.clone().into()));
                (self.supervisor.named(&label), labelled)
            };
            let starting = Starting {
                id: &service.id,
                options,
                config: &self.plan.config,
                app: service.app.as_deref().unwrap_or(&self.plan.app),
                environment: &self.plan.environment,
                only_checks: self.plan.only_checks,
                data,
                resources: self.resources,
                supervisor,
                metrics,
                upstreams: &self.upstreams,
                default_routes: &default_routes,
                addresses: &self.addresses,
                embedded: &mut self.embedded,
                admin: &mut self.admin,
            };
            let Started { service: upstream, handle, join, parts, about } = (row.start)(starting).await?;
            let upstream = row.rules.map_or(upstream.clone(), |rules| self.guard.service(rules, upstream));
            if let Some(target) = service.target() {
                self.upstreams.insert(target, upstream.clone());
            }
            self.parts.extend(parts);
            let id = service.id.clone();
            let service = RunningService { id, row, handle, join: Some(join), service: upstream, about };
            self.services.push(service);
        }
        Ok(())
    }
}

/// If other machines can connect, generates keys for the services that have none configured.
fn generated_keys(
    config: &Config,
    table: Table,
    data: &OpenData,
) -> Result<keys::GeneratedKeys, keys::KeysError> {
    let Some(exposure) = config.exposure() else { return Ok(keys::GeneratedKeys::new()) };
    tracing::info!("no development mode, because {exposure}: the emulators' public keys are refused");
    let with_key = config.services.iter().filter_map(|service| {
        let row = services::row(table, service.section);
        Some((service, row.made_key_bytes.filter(|_| (row.runs)(config).is_ok())?))
    });
    let with_key: Vec<_> = with_key.collect();
    let is_missing =
        |service: &ConfiguredService| service.options.clone().primary_key().is_some_and(|key| key.is_none());
    if !with_key.iter().any(|(service, _)| is_missing(service)) {
        return Ok(keys::GeneratedKeys::new());
    }
    let wanted: Vec<_> = with_key.iter().map(|(service, bytes)| (service.id.to_string(), *bytes)).collect();
    let made = keys::load_or_generate(data.path(), &wanted)?;
    tracing::info!("the keys in use are in {}", data.path().join("keys.json").display());
    Ok(made)
}

/// The options of a service, with the generated key if none is configured.
fn with_generated_key(service: &ConfiguredService, keys: &keys::GeneratedKeys) -> Box<dyn SectionOptions> {
    let mut options = service.options.clone();
    if let (Some(key), Some(made)) = (options.primary_key(), keys.get(&service.id.to_string())) {
        key.get_or_insert_with(|| made.clone());
    }
    options
}

/// How a service is shown to people and machines.
fn ready(
    service: &ConfiguredService,
    table: Table,
    running: &[RunningService],
    addresses: &Addresses,
) -> ReadyService {
    let running = running.iter().find(|running| running.id == service.id);
    ReadyService {
        id: service.id.clone(),
        title: title(services::row(table, service.section).title, &service.id),
        about: running.map(|running| running.about.clone()).unwrap_or_default(),
        address: addresses.get(&service.id),
    }
}

fn title(title: &str, id: &ServiceId) -> String {
    id.name.as_ref().map_or_else(|| title.to_owned(), |name| format!("{title} {name}"))
}

/// The paths of the admin API for the operations of a service that does not run, and the reason why it does not.
fn switched_off(
    service: &ConfiguredService,
    table: Table,
    config: &Config,
) -> Option<(Vec<String>, &'static str)> {
    let row = services::row(table, service.section);
    let why = (row.runs)(config).err()?;
    let shortcuts = row.admin_shortcuts.iter().filter(|_| service.id.is_default());
    let shortcuts = shortcuts.map(|name| format!("/chappe/api/{name}"));
    Some((std::iter::once(format!("/chappe/api/{}", service.id)).chain(shortcuts).collect(), why))
}

/// The admin API's part for one service.
fn mounted(service: &RunningService) -> admin::Mounted {
    let own = format!("/chappe/api/{}", service.id);
    let own = service.handle.admin(&own).map(|operations| (own, operations));
    let shortcuts = service.row.admin_shortcuts.iter().filter(|_| service.id.is_default());
    let shortcuts = shortcuts.filter_map(|name| {
        let operations = service.handle.admin("/chappe/api")?;
        Some((format!("/chappe/api/{name}"), operations))
    });
    let handle = Arc::clone(&service.handle);
    let info = move || {
        let handle = Arc::clone(&handle);
        let info: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { handle.info().await });
        info
    };
    let name = (!service.id.is_default()).then(|| service.id.to_string());
    admin::Mounted { name, operations: own.into_iter().chain(shortcuts).collect(), info: Box::new(info) }
}

/// A listener with its service.
fn serve(service: &RunningService, listener: Listener, guard: &Guard, config: &Config) -> ServedListener {
    let closes_first = service.row.drain.closes_listener_first;
    ServedListener {
        id: service.id.clone(),
        listener: listener.with_options(listener_options(config, closes_first)),
        service: guard.listener((service.row.on_own_port)(service.service.clone())),
        closes_first,
    }
}

/// The limits of one listener.
fn listener_options(config: &Config, closes_first: bool) -> edge::Options {
    let mut options = config.edge.clone();
    if closes_first {
        // It closes when the drain begins; its calls have the same time as behind the gateway.
        let limit = config.drain_timeout_ms.saturating_add(options.drain_timeout_ms.get());
        options.drain_timeout_ms = limit;
    }
    options
}

fn prepare_limits(limits: &[(LiveOptions, bool)], config: &Config) -> Change {
    let new: Vec<(LiveOptions, edge::Options)> = limits
        .iter()
        .map(|(options, closes_first)| (options.clone(), listener_options(config, *closes_first)))
        .collect();
    Change::new(move || new.into_iter().for_each(|(options, new)| options.set(new)))
}

/// What all ports share. All files that stay open are open by now.
fn quotas(options: &edge::Options, ports: usize) -> edge::Quotas {
    // The limit was raised earlier; this only reads it.
    let files_max = edge::raise_open_files().ok().flatten();
    let quotas = edge::Quotas::of_process(files_max, ports);
    if let (Some(connections), Some(files_max)) = (quotas.connections_max(), files_max)
        && connections < options.connections_max.get()
    {
        tracing::warn!(
            "the process may open {files_max} files, which is enough for {connections} connections on all ports together; \
             raise the limit of open files (ulimit -n) for more"
        );
    }
    quotas
}

/// Certificates: the operator's, or those of a development authority in the data folder.
fn tls(section: &TlsSection, data_dir: &Path) -> anyhow::Result<(TlsConfig, Option<PathBuf>)> {
    match (&section.certificate_file, &section.key_file) {
        (Some(certificate), Some(key)) => Ok((TlsConfig::from_pem_files(certificate, key)?, None)),
        (None, None) => {
            let authority = DevAuthority::load_or_create(&data_dir.join(trust::FOLDER))?;
            Ok((authority.tls_config()?, Some(authority.certificate_path().to_owned())))
        }
        _ => anyhow::bail!("the plan lets no half of a certificate pass"),
    }
}
