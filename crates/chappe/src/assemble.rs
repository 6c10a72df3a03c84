//! Building the house: each room gets what it needs from the others, and a listener in front.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use edge::{DevAuthority, Listener, TlsConfig};
use functions_contract::Connector;
use gateway::{Route, Upstream};
use http::Request;
use http_messages::{Body, Budget};
use prometheus_client::registry::Registry;
use realtime_engine::NodeId;
use supervision::{Component, Supervisor};
use tower::ServiceExt;
use trace::Tracer;

use crate::check::missing_folder;
use crate::config::{Config, TlsSection};
use crate::data_folder::ephemeral::Ephemeral;
use crate::data_folder::{DataFolder, Part};
use crate::guard::{self, Guard};
use crate::plan::Plan;
use crate::ports::Ports;
use crate::ready::Ready;
use crate::wiring::{Here, cosmos_connector, signalr_connector};
use crate::{admin, keys, trust};

/// This process among those of a cluster: a single node is a cluster of one.
const NODE: NodeId = NodeId(0);

/// Everything that runs, and what is needed to end it.
pub(crate) struct House {
    /// Listeners with the services behind them, not yet serving.
    pub(crate) served: Vec<(&'static str, Listener, Upstream)>,
    pub(crate) ready_line: Ready,
    pub(crate) supervisor: Supervisor,
    /// Ready while the process serves, and is not asked to end.
    pub(crate) process: Component,
    pub(crate) realtime: realtime::Join,
    pub(crate) documents: documents::Handle,
    pub(crate) functions: Option<functions::Handle>,
    pub(crate) store: state_embedded::Store,
    pub(crate) tracer: Tracer,
    pub(crate) egress: egress::Client,
    /// The folder of an ephemeral process; removed when this is dropped.
    pub(crate) temporary: Option<Ephemeral>,
}

/// Opens what is kept on disk, starts the services, and binds the ports. Nothing is accepted yet.
pub(crate) async fn assemble(plan: &Plan) -> anyhow::Result<House> {
    let config = &plan.config;
    let mut metrics = Registry::with_prefix("chappe");
    let supervisor = Supervisor::new(&mut metrics);
    let process = supervisor.component("process");
    let mut data = Data::open(plan)?;
    let data_dir = data.path.clone();
    let tracer = Tracer::new(config.telemetry.spans_max);
    let store = open_state(&config.state, &data, &supervisor, &mut metrics)?;
    let bodies =
        Budget::new(config.bodies.clone(), &data_dir, http_messages::Metrics::register(&mut metrics));
    let egress = egress::Client::new(&config.egress, &egress::Metrics::register(&mut metrics))?
        .with_bodies(bodies.clone());

    let (realtime_options, documents_options) = service_options(plan, &data)?;
    let (realtime, realtime_handle, realtime_join) =
        start_realtime(realtime_options, &store, &egress, &bodies, &tracer, &supervisor, &mut metrics)
            .await?;
    let (documents, documents_handle) =
        open_documents(documents_options, &bodies, &tracer, &supervisor, &mut metrics)?;
    data.note(&store, &documents_handle)?;
    watch_damage(&supervisor, &store, &documents_handle);

    let ports = if plan.only_checks { Ports::default() } else { Ports::bind(config)? };
    let addresses = ports.addresses();
    let (functions, functions_handle) = if config.run_functions {
        let here = Here::new(addresses.clone(), config.public_url.as_deref());
        let documents = (&documents, &documents_handle);
        let connectors = connectors(here, &realtime_handle, documents, (&egress, &bodies), &data_dir);
        let shared = (&bodies, &tracer, &supervisor);
        let (service, handle) = start_functions(plan, &data_dir, &store, connectors, shared, &mut metrics)?;
        tell_master_key(plan, &data_dir, &handle).await?;
        (Some(service), Some(handle))
    } else {
        (None, None)
    };

    let (tls, authority) = tls(&config.tls, &data_dir)?;
    let edge_metrics = edge::Metrics::register(&mut metrics);
    let guard = Guard::new(config, &mut metrics);
    let mut upstreams = guarded(&guard, realtime, documents, functions);
    let ready_line = Ready {
        addresses,
        public_url: config.public_url.clone(),
        data_dir: plan.data_dir.as_ref().map(|_| data_dir.clone()),
        authority,
        shows_https: plan.shows_https,
        gateway_serves: gateway_serves(&config.gateway, functions_handle.is_some()),
    };
    let facts = admin::Facts {
        ready_line: ready_line.facts(),
        supervisor: supervisor.clone(),
        tracer: tracer.clone(),
        realtime: realtime_handle,
        functions: functions_handle.clone(),
    };
    front(&config.gateway, &guard, &mut upstreams, facts, metrics)?;
    let served = serve(ports, &guard, &upstreams, config, &edge_metrics, &tls);
    Ok(House {
        served,
        ready_line,
        supervisor,
        process,
        realtime: realtime_join,
        documents: documents_handle,
        functions: functions_handle,
        store,
        tracer,
        egress,
        temporary: data.temporary,
    })
}

/// Journal, registry and leases in the data folder.
fn open_state(
    options: &state_embedded::Options,
    data: &Data,
    supervisor: &Supervisor,
    metrics: &mut Registry,
) -> anyhow::Result<state_embedded::Store> {
    let (folder, options) = (data.path.join("state"), state_options(options, data));
    let store = state_embedded::Store::open_supervised(folder, &options, supervisor)?;
    store.register_metrics(metrics);
    Ok(store)
}

/// The services by the names that routes call them by, each with its guard before it.
fn guarded(
    guard: &Guard,
    realtime: realtime::Service,
    documents: documents::Service,
    functions: Option<functions::Service>,
) -> BTreeMap<String, Upstream> {
    let mut upstreams = BTreeMap::from([
        ("realtime".to_owned(), guard.service(&guard::REALTIME, Upstream::new(realtime))),
        ("documents".to_owned(), guard.service(&guard::DOCUMENTS, Upstream::new(documents))),
    ]);
    upstreams.extend(functions.map(|service| {
        let service = Upstream::new(Upstream::new(service).map_request(with_client_address));
        ("functions".to_owned(), guard.service(&guard::FUNCTIONS, service))
    }));
    upstreams
}

/// Where function keys are asked for, somebody must be able to learn the first one: the owner of the machine.
async fn tell_master_key(plan: &Plan, data_dir: &Path, functions: &functions::Handle) -> anyhow::Result<()> {
    if !functions_options(plan, data_dir).enable_auth {
        return Ok(());
    }
    let file = keys::tell_master_key(data_dir, &functions.master_key().await?)?;
    if !plan.config.is_development() && functions.has_void_keys().await? {
        tracing::warn!(
            "function, host and master keys of this app that were made in development mode open nothing here; callers need new ones: read them at /admin/host/keys and /admin/functions/<name>/keys with the master key in {}",
            file.display()
        );
    }
    tracing::info!("function keys are asked for; the master key is in {}", file.display());
    Ok(())
}

/// The document service with its database in the data folder.
fn open_documents(
    options: documents::Options,
    bodies: &Budget,
    tracer: &Tracer,
    supervisor: &Supervisor,
    metrics: &mut Registry,
) -> anyhow::Result<(documents::Service, documents::Handle)> {
    let dependencies = documents::Dependencies {
        tracer: tracer.clone(),
        bodies: bodies.clone(),
        supervisor: supervisor.clone(),
    };
    let started = documents::start(options, dependencies, metrics);
    let (service, handle, _join) = started.context("the document service cannot start")?;
    Ok((service, handle))
}

/// The realtime service on the process's own state.
async fn start_realtime(
    options: realtime::Options,
    store: &state_embedded::Store,
    egress: &egress::Client,
    bodies: &Budget,
    tracer: &Tracer,
    supervisor: &Supervisor,
    metrics: &mut Registry,
) -> anyhow::Result<(realtime::Service, realtime::Handle, realtime::Join)> {
    let dependencies = realtime::Dependencies {
        node: NODE,
        tracer: tracer.clone(),
        journal: store.journal(),
        registry: store.registry(),
        egress: egress.clone(),
        bodies: bodies.clone(),
        supervisor: supervisor.clone(),
        listeners: Vec::new(),
    };
    realtime::start(options, dependencies, metrics).await.context("the realtime service cannot start")
}

/// Triggers and bindings by the services of this process, or over the network.
fn connectors(
    here: Here,
    realtime: &realtime::Handle,
    (documents, documents_handle): (&documents::Service, &documents::Handle),
    (egress, bodies): (&egress::Client, &Budget),
    data_dir: &Path,
) -> Vec<Arc<dyn Connector>> {
    let here = Arc::new(here);
    let cosmos = cosmos_connector(
        Arc::clone(&here),
        documents.clone(),
        documents_handle,
        egress.clone(),
        bodies,
        &host_name(data_dir),
    );
    let signalr = signalr_connector(here, realtime.clone(), egress.clone());
    vec![Arc::new(signalr), Arc::new(cosmos)]
}

/// The functions host with its connectors.
fn start_functions(
    plan: &Plan,
    data_dir: &Path,
    store: &state_embedded::Store,
    connectors: Vec<Arc<dyn Connector>>,
    (bodies, tracer, supervisor): (&Budget, &Tracer, &Supervisor),
    metrics: &mut Registry,
) -> anyhow::Result<(functions::Service, functions::Handle)> {
    let dependencies = functions::Dependencies {
        environment: plan.environment.clone(),
        registry: store.registry(),
        lease: store.lease(),
        owner: format!("chappe-{}", uuid::Uuid::new_v4()),
        connectors,
        bodies: bodies.clone(),
        tracer: tracer.clone(),
        supervisor: supervisor.clone(),
        workers: None,
    };
    Ok(functions::Service::start(functions_options(plan, data_dir), dependencies, metrics)?)
}

/// Puts the gateway in front of the services, and the admin API among them.
///
/// The gateway registers its metrics before the registry moves into the admin API, and routes lead to that API: so its place
/// in the table is a slot that is filled last.
fn front(
    options: &gateway::Options,
    guard: &Guard,
    upstreams: &mut BTreeMap<String, Upstream>,
    facts: admin::Facts,
    mut metrics: Registry,
) -> anyhow::Result<()> {
    let slot = admin::Slot::default();
    upstreams.insert("chappe".to_owned(), guard.service(&guard::CHAPPE, Upstream::new(slot.clone())));
    let options = with_default_routes(options, upstreams);
    let dependencies = gateway::Dependencies { upstreams: upstreams.clone() };
    let (gateway, ..) = gateway::start(&options, dependencies, &mut metrics)?;
    slot.fill(admin::Service::new(facts, metrics));
    upstreams.insert("gateway".to_owned(), Upstream::new(gateway));
    Ok(())
}

/// Each listener with its service.
fn serve(
    ports: Ports,
    guard: &Guard,
    upstreams: &BTreeMap<String, Upstream>,
    config: &Config,
    metrics: &edge::Metrics,
    tls: &TlsConfig,
) -> Vec<(&'static str, Listener, Upstream)> {
    let Ports { gateway, functions, realtime, documents, admin } = ports;
    let named = [
        (gateway, "gateway"),
        (functions, "functions"),
        (realtime, "realtime"),
        (documents, "documents"),
        (admin, "chappe"),
    ];
    let options = &config.edge;
    let quotas = quotas(options, named.iter().filter(|(listener, _)| listener.is_some()).count());
    let served = named.into_iter().filter_map(|(listener, name)| {
        let service = upstreams.get(name)?.clone();
        let service =
            if name == "chappe" { Upstream::new(service.map_request(on_own_port)) } else { service };
        let service = guard.listener(service);
        let mut options = options.clone();
        if name == "functions" {
            // It stops listening when the drain begins, and its calls have as long as they have behind the gateway.
            let limit = config.drain_timeout_ms.saturating_add(options.drain_timeout_ms.get());
            options.drain_timeout_ms = limit;
        }
        let listener = listener?.with_options(options).with_quotas(&quotas);
        let listener = listener.with_metrics(metrics).with_tls(tls.clone());
        Some((name, listener, service))
    });
    served.collect()
}

/// What all ports share. Everything that stays open has been opened by now.
fn quotas(options: &edge::Options, ports: usize) -> edge::Quotas {
    // Raised before; this only asks how far.
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

/// Tells the functions host who calls; it knows nothing of connections.
fn with_client_address(mut request: Request<Body>) -> Request<Body> {
    if let Some(peer) = request.extensions().get::<edge::Peer>() {
        let client = functions::ClientAddress(peer.remote.ip());
        request.extensions_mut().insert(client);
    }
    request
}

fn on_own_port(mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(admin::OwnPort);
    request
}

/// What people find at the gateway: files where a route leads to a folder that is there, and the services that run.
fn gateway_serves(configured: &gateway::Options, runs_functions: bool) -> String {
    let files =
        configured.routes.iter().any(|route| route.directory.as_ref().is_some_and(|folder| folder.is_dir()));
    let parts = [(files, "files"), (runs_functions, "/api"), (true, "/client")];
    let parts: Vec<&str> = parts.iter().filter(|(is_there, _)| *is_there).map(|(_, part)| *part).collect();
    parts.join(", ")
}

/// The routes that every gateway has unless one of them is configured otherwise: path and service. docs/configuration.md is made from it.
const DEFAULT_ROUTES: [(&str, &str); 7] = [
    ("/api", "functions"),
    ("/runtime", "functions"),
    ("/client", "realtime"),
    ("/chappe", "chappe"),
    ("/healthz", "chappe"),
    ("/readyz", "chappe"),
    ("/metrics", "chappe"),
];

/// The configured routes, and those that every gateway has unless one of them takes the same path.
fn with_default_routes(
    configured: &gateway::Options,
    upstreams: &BTreeMap<String, Upstream>,
) -> gateway::Options {
    let runs = |route: &Route| route.service.as_ref().is_none_or(|service| upstreams.contains_key(service));
    let (mut routes, idle): (Vec<Route>, Vec<Route>) = configured.routes.iter().cloned().partition(runs);
    for route in idle {
        tracing::warn!(
            path = route.path,
            service = route.service,
            "this route leads nowhere: the service does not run"
        );
    }
    for route in &routes {
        if let Some(folder) = route.directory.as_ref().filter(|folder| !folder.is_dir()) {
            tracing::warn!("{}", missing_folder(&route.path, folder));
        }
    }
    for (path, service) in DEFAULT_ROUTES {
        let taken = routes.iter().any(|route| route.path.trim_end_matches('/') == path);
        if !taken && upstreams.contains_key(service) {
            routes.push(Route::to_service(path, service));
        }
    }
    gateway::Options { routes }
}

/// Lets readiness say when something can only be read any more.
fn watch_damage(supervisor: &Supervisor, store: &state_embedded::Store, documents: &documents::Handle) {
    let (of_store, of_documents) =
        (supervisor.component("state files"), supervisor.component("documents files"));
    for component in [&of_store, &of_documents] {
        component.set_ready();
    }
    store.when_damaged(move |why| of_store.set_not_ready(why));
    documents.when_damaged(move |why| of_documents.set_not_ready(why));
}

/// Where data is kept.
struct Data {
    path: PathBuf,
    /// None for an ephemeral process.
    folder: Option<DataFolder>,
    temporary: Option<Ephemeral>,
}

impl Data {
    /// The configured folder, made where it is missing; a temporary one for an ephemeral process.
    fn open(plan: &Plan) -> anyhow::Result<Self> {
        let Some(path) = &plan.data_dir else {
            let temporary = Ephemeral::make()?;
            return Ok(Self { path: temporary.path().to_owned(), folder: None, temporary: Some(temporary) });
        };
        let folder = DataFolder::open(path, &plan.accept_loss)?;
        Ok(Self { path: path.clone(), folder: Some(folder), temporary: None })
    }

    fn accepts(&self, part: Part) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.accepts(part))
    }

    /// Sees to it that the parts that were opened are those of this folder, and notes new ones.
    fn note(&mut self, store: &state_embedded::Store, documents: &documents::Handle) -> anyhow::Result<()> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        let parts = store.parts();
        let mut parts = vec![
            (Part::Journal, parts.journal),
            (Part::Registry, parts.registry),
            (Part::Documents, documents.store_id()),
        ];
        parts.extend(folder.keys());
        Ok(folder.note(&parts)?)
    }
}

/// How old the date of a signature may be where strangers may have seen it, in seconds: as the public document service.
const SIGNATURE_AGE_MAX_S: NonZeroU64 = NonZeroU64::new(15 * 60).expect("not zero");

/// The services' own options, with what the whole house decides: folders, keys, addresses.
fn service_options(plan: &Plan, data: &Data) -> anyhow::Result<(realtime::Options, documents::Options)> {
    let data_dir = &data.path;
    let config = &plan.config;
    let (mut realtime, mut documents) = (config.realtime.clone(), config.documents.clone());
    let exposure = config.exposure();
    let development = exposure.is_none();
    realtime.development_keys = development;
    documents.development_key = development;
    if let Some(exposure) = exposure {
        tracing::info!("no development mode, because {exposure}: the emulators' public keys are refused");
        documents.signature_age_max_s.get_or_insert(SIGNATURE_AGE_MAX_S);
    }
    documents.data_dir = data_dir.join("documents");
    documents.accept_loss = data.accepts(Part::Documents);
    if !development && (realtime.primary_key.is_none() || documents.primary_key.is_none()) {
        let made = keys::load_or_make(data_dir)?;
        tracing::info!("the keys in use are in {}", data_dir.join("keys.json").display());
        realtime.primary_key.get_or_insert(made.realtime);
        documents.primary_key.get_or_insert(made.documents);
    }
    Ok((realtime, documents))
}

fn state_options(configured: &state_embedded::Options, data: &Data) -> state_embedded::Options {
    let accept_loss = state_embedded::AcceptLoss {
        journal: data.accepts(Part::Journal),
        registry: data.accepts(Part::Registry),
    };
    state_embedded::Options { accept_loss, ..configured.clone() }
}

fn functions_options(plan: &Plan, data_dir: &Path) -> functions::Options {
    let mut options = plan.config.functions.clone();
    options.app_dir = plan.app.clone();
    options.cache_dir = Some(data_dir.join("workers"));
    options.ignored_dirs = vec![data_dir.to_owned()];
    options.development = plan.config.is_development();
    options.runs_triggers = !plan.only_checks;
    // Core Tools ask for no keys on a developer's machine; anywhere else a function without its key is an open door.
    options.enable_auth |= !plan.config.is_development();
    options
}

/// A name for this process's leases that survives restarts: who is killed finds its own leases again and need not wait.
fn host_name(data_dir: &Path) -> String {
    format!("chappe-{}", data_dir.display())
}

/// Certificates: the operator's, or a development authority's in the data folder.
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
