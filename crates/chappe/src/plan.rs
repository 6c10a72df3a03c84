//! What the process will run, from the command line and the configuration. Nothing starts here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::cli::{FuncArgs, FuncFlagError, SharedArgs};
use crate::config::{BodyStorage, Config, ConfigError, ConfiguredService, Layers, Listen, Origin, Sections};
use crate::data_folder::DataPart;
use crate::demo;

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A service cannot run with its configuration.
    #[error("{0}")]
    Service(String),
    /// The app cannot be read.
    #[error(transparent)]
    App(#[from] functions::app::LoadAppError),
    /// Only a certificate or only its key is configured.
    #[error(
        "tls.certificate_file and tls.key_file belong together: name both, or neither for a development certificate"
    )]
    HalfCertificate,
    /// A body that one option allows could never be read, because the memory limit of another option is too small.
    #[error(
        "{key} is {bytes}, but bodies.{room} leaves room for bodies of at most {bytes_max}: lower the one, or raise the other"
    )]
    NoRoomForBody {
        /// The option that allows the body.
        key: String,
        /// Its value.
        bytes: usize,
        /// The option of the memory limit.
        room: &'static str,
        /// The largest body within that limit.
        bytes_max: usize,
    },
    /// A flag of `func start` that has no meaning here.
    #[error(transparent)]
    Flag(#[from] FuncFlagError),
    /// The demo's folder cannot be used.
    #[error(transparent)]
    Demo(#[from] demo::PrepareError),
}

/// The state of a file, to detect changes: its modification time and its length; `None` if it does not exist.
pub(crate) type FileState = Option<(SystemTime, u64)>;

/// The current state of a file.
pub(crate) fn file_state(file: &Path) -> FileState {
    let metadata = file.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Creates the plan again, from the same command line and the current sources.
pub(crate) type Replan = Arc<dyn Fn() -> Result<Plan, PlanError> + Send + Sync>;

/// All decisions made before the first port opens.
pub(crate) struct Plan {
    /// The folder of the function app.
    pub(crate) app: PathBuf,
    pub(crate) config: Config,
    pub(crate) replan: Replan,
    /// The configuration file, whether it exists or not, and the files whose content is part of the configuration, each with its
    /// state before it was read; a later change is detected by it.
    pub(crate) watched: Vec<(PathBuf, FileState)>,
    /// The sources of the configuration.
    pub(crate) layers: Layers,
    /// Where data is stored; `None` for a temporary folder.
    pub(crate) data_dir: Option<PathBuf>,
    /// Parts of the data folder whose loss is accepted.
    pub(crate) accept_loss: Vec<DataPart>,
    /// Whether the ready line is JSON.
    pub(crate) json: bool,
    /// Whether to prepare the example first.
    pub(crate) demo: bool,
    /// Whether this is a check: no port is bound, no trigger starts, and data is stored in a temporary folder.
    pub(crate) only_checks: bool,
    /// Whether addresses are shown with `https`.
    pub(crate) shows_https: bool,
    /// The environment at the start; the app's settings override it.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Plan {
    /// `sections` are the sections of the services and connectors.
    pub(crate) fn start(
        sections: Sections,
        app: &Path,
        shared: &SharedArgs,
        func: &FuncArgs,
    ) -> Result<Self, PlanError> {
        Self::new(sections, app, shared, func, false)
    }

    /// As `start`, to find errors in it.
    pub(crate) fn check(
        sections: Sections,
        app: &Path,
        shared: &SharedArgs,
        func: &FuncArgs,
    ) -> Result<Self, PlanError> {
        let plan = Self::start(sections, app, shared, func)?;
        Ok(Self { only_checks: true, data_dir: None, ..plan })
    }

    /// As `start`, but unpacks the example first if it is missing: its folder has its configuration.
    pub(crate) fn demo(
        sections: Sections,
        folder: Option<&Path>,
        yes: bool,
        shared: &SharedArgs,
    ) -> Result<Self, PlanError> {
        let consent = if yes || folder.is_some() { demo::Consent::Given } else { demo::Consent::Ask };
        let folder = folder.unwrap_or(Path::new(demo::FOLDER));
        demo::unpack(folder, consent)?;
        Self::new(sections, folder, shared, &FuncArgs::default(), true)
    }

    fn new(
        sections: Sections,
        app: &Path,
        shared: &SharedArgs,
        func: &FuncArgs,
        demo: bool,
    ) -> Result<Self, PlanError> {
        let app = absolute(app);
        let replan = replan(sections.clone(), &app, shared, func, demo);
        let file = shared.config.clone().unwrap_or_else(|| app.join("chappe.toml"));
        let first_state = file_state(&file);
        let (mut layers, mut environment) = layers(sections, &app, shared.config.as_deref(), &shared.set)?;
        if let Some(port) = shared.gateway_port {
            let flag = Origin::Flag(format!("--gateway-port {port}"));
            layers.set("listen.gateway", &format!("localhost:{port}"), &flag)?;
        }
        if let Some(log) = shared.log {
            let format = log.format();
            layers.set("telemetry.format", format, &Origin::Flag(format!("--log {format}")))?;
        }
        if shared.no_functions {
            layers.set("run_functions", "false", &Origin::Flag("--no-functions".to_owned()))?;
        }
        if layers.config()?.run_functions {
            if let Some(language) = func.language() {
                environment.insert("FUNCTIONS_WORKER_RUNTIME".to_owned(), language.to_owned());
            }
            // The host reads it again when it starts; reading it here leaves no files behind if the app cannot run.
            let loaded = match functions::app::App::load(&app, &environment) {
                // The host waits for the next change of a file.
                Err(error) if error.is_edit() && is_hot_reload_on(&layers.config()?) => {
                    functions::app::App::unreadable(&app, &environment)
                }
                loaded => loaded?,
            };
            // As Core Tools do; Chappe's own options for ports override it.
            if let Some(port) = loaded.local.http_port
                && layers.config()?.listen("functions").is_some_and(Listen::is_default)
            {
                let origin = Origin::File(app.join("local.settings.json"), None);
                layers.set("listen.functions", &format!("localhost:{port}"), &origin)?;
            }
            func.settings(&loaded.language, &mut environment);
        }
        for (key, value, flag) in func.configuration(&layers.config()?, shared.port)? {
            layers.set(&key, &value, &Origin::Flag(flag))?;
        }
        for service in &layers.config()?.services {
            for (key, variable) in service.options.variables() {
                if let Some(value) = environment.get(*variable) {
                    let value = toml::Value::String(value.clone()).to_string();
                    let origin = Origin::Variable((*variable).to_owned());
                    layers.set(&format!("{}.{key}", service.id), &value, &origin)?;
                }
            }
        }
        let config = layers.config()?;
        let named = config.files().into_iter().map(|(_, file)| (file.clone(), file_state(&file)));
        let watched = std::iter::once((file, first_state)).chain(named).collect();
        validate(&config, &layers)?;
        let data_dir = (!shared.ephemeral)
            .then(|| data_dir(&app, shared.data_dir.as_deref(), config.data_dir.as_deref()));
        Ok(Self {
            app,
            config,
            replan,
            watched,
            layers,
            data_dir,
            accept_loss: shared.accept_loss.clone(),
            json: shared.json,
            demo,
            only_checks: false,
            shows_https: func.use_https,
            environment,
        })
    }
}

/// Whether the host reloads the app when its files change.
fn is_hot_reload_on(config: &Config) -> bool {
    let options = config.services.iter().find_map(|service| {
        service.options.as_any().downcast_ref::<functions::Options>().filter(|_| service.id.is_default())
    });
    options.is_some_and(|options| options.hot_reload.unwrap_or(config.is_development()))
}

fn replan(sections: Sections, app: &Path, shared: &SharedArgs, func: &FuncArgs, demo: bool) -> Replan {
    let (app, shared, func) = (app.to_owned(), shared.clone(), func.clone());
    Arc::new(move || Plan::new(sections.clone(), &app, &shared, &func, demo))
}

/// Finds errors in a configuration that reading it does not find.
fn validate(config: &Config, layers: &Layers) -> Result<(), PlanError> {
    let wrong = |section: &str, complaint: String| match layers.origin_of(section, &complaint) {
        Some(origin) => PlanError::Service(format!("{origin}: {complaint}")),
        None => PlanError::Service(complaint),
    };
    let targets: Vec<String> = config.services.iter().filter_map(ConfiguredService::target).collect();
    for service in &config.services {
        let section = service.id.to_string();
        service.options.validate(&section, &targets).map_err(|complaint| wrong(&section, complaint))?;
    }
    for connector in &config.connectors {
        let section = connector.path();
        connector.options.validate(&section, &targets).map_err(|complaint| wrong(&section, complaint))?;
    }
    check_services(config)?;
    if config.tls.certificate_file.is_some() != config.tls.key_file.is_some() {
        return Err(PlanError::HalfCertificate);
    }
    check_bodies(config)
}

/// The configuration of an app from all its sources, including the environment. `flags` are `key=value`.
///
/// # Errors
///
/// If the configuration cannot be read, or is wrong.
pub(crate) fn layers(
    sections: Sections,
    app: &Path,
    file: Option<&Path>,
    flags: &[String],
) -> Result<(Layers, BTreeMap<String, String>), ConfigError> {
    // Variables that are not valid Unicode cannot be settings.
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let beside_the_app = absolute(app).join("chappe.toml");
    let file = file.map(Path::to_owned).or_else(|| beside_the_app.exists().then_some(beside_the_app));
    let layers = Layers::load(sections, file.as_deref(), &environment, flags)?;
    Ok((layers, environment))
}

/// Where the data of an app is stored: the folder from the command line, else from the configuration, else `.chappe` in the app's
/// folder.
pub(crate) fn data_dir(app: &Path, named: Option<&Path>, configured: Option<&Path>) -> PathBuf {
    let named = named.map(absolute).or_else(|| configured.map(Path::to_owned));
    named.unwrap_or_else(|| absolute(app).join(".chappe"))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Checks that services of one kind do not share what each needs for itself.
fn check_services(config: &Config) -> Result<(), PlanError> {
    let wrong = |text: String| Err(PlanError::Service(text));
    for (at, service) in config.services.iter().enumerate() {
        let id = &service.id;
        if service.section.has_app && !id.is_default() && service.app.is_none() {
            return wrong(format!("[{id}]: name the folder of its app: {id}.app = \"folder\""));
        }
        for other in config.services[..at].iter().filter(|other| other.id.service == id.service) {
            if service.app.is_some() && service.app == other.app {
                return wrong(format!(
                    "[{id}] and [{}] run the same app: give each a folder of its own",
                    other.id
                ));
            }
            if let (Some((key, value)), Some(account)) = (service.options.account(), other.options.account())
                && (key, value) == account
            {
                return wrong(format!(
                    "[{}] and [{id}] have the same {key}, {value:?}, and would share what they keep: set {id}.{key} to another one",
                    other.id
                ));
            }
        }
    }
    Ok(())
}

/// Checks that the memory limit allows the largest body of each kind.
fn check_bodies(config: &Config) -> Result<(), PlanError> {
    let memory = ("memory_bytes_max", config.bodies.body_bytes_max());
    let disk = ("disk_bytes_max", usize::try_from(config.bodies.disk_bytes_max).unwrap_or(usize::MAX));
    let egress = ("egress.response_bytes_max".to_owned(), config.egress.response_bytes_max.get(), memory);
    let of_services = config.services.iter().map(|service| (service.id.to_string(), &service.options));
    let of_connectors = config.connectors.iter().map(|connector| (connector.path(), &connector.options));
    let of_sections = of_services.chain(of_connectors).flat_map(|(section, options)| {
        options.bodies().into_iter().map(move |body| {
            let room = match body.storage {
                BodyStorage::InMemory => memory,
                BodyStorage::InFiles => disk,
            };
            (format!("{section}.{}", body.key), body.bytes, room)
        })
    });
    for (key, bytes, (room, bytes_max)) in of_sections.chain([egress]) {
        if bytes > bytes_max {
            return Err(PlanError::NoRoomForBody { key, bytes, room, bytes_max });
        }
    }
    Ok(())
}
