//! The functions host: the app's functions, their triggers and bindings. Keys are asked for as soon as any service listens beyond this machine, or `public_url` leads others here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use functions::app::missing_packages;
use functions::{FunctionState, Handle};
use gateway::UpstreamService;
use http::Request;
use http_messages::Body;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::row::{
    Drain, Findings, Phase, Problem, Row, ServiceHandle, ServiceJoin, Stage, Started, Starting,
};
use crate::change::Change;
use crate::config::{BodyBound, BodyStorage, ConfiguredService, Section, SectionOptions, ServiceId};
use crate::data_folder::{self, named_folder};
use crate::error_table::configuration;
use crate::guard::{GuardAudience, Rules};
use crate::keys;
use crate::wiring::{self, LocalServices, Reachable};
use http_messages::error_chain;

pub(super) static ROW: Row = Row {
    // The port of Functions Core Tools.
    section: Section::of::<functions::Options>("functions", Some(7071), Some("functions")).with_app(),
    title: "Functions",
    routes: &["/api", "/runtime"],
    // The app configures its own function keys and CORS. Administration needs no key in development mode.
    rules: Some(&Rules {
        paths: &[("/admin", GuardAudience::Person), ("/runtime", GuardAudience::App)],
        others: GuardAudience::Browser,
    }),
    made_key_bytes: None,
    phase: Phase::Apps,
    drain: Drain { stage: Stage::Work, closes_listener_first: true, what: "the functions host" },
    admin_shortcuts: &["logs", "workers"],
    on_own_port: |service| service,
    runs: |config| {
        let why = "functions are switched off in this process: start it without --no-functions, and with run_functions = true";
        if config.run_functions { Ok(()) } else { Err(why) }
    },
    describe: |error| error.downcast_ref().map(functions::Error::description),
    start: |starting| Box::pin(start(starting)),
};

/// Longest time for an app to load during a check; longer than the worker's limit for each step.
const LOAD_MAX: Duration = Duration::from_secs(200);

impl SectionOptions for functions::Options {
    fn bodies(&self) -> Vec<BodyBound> {
        vec![BodyBound { key: "body_bytes_max", bytes: self.body_bytes_max, storage: BodyStorage::InFiles }]
    }
}

async fn start(starting: Starting<'_>) -> anyhow::Result<Started> {
    let (data_dir, resources) = (starting.data.path(), starting.resources);
    let own_dir = own_folder(starting.id, data_dir)?;
    let development = starting.config.is_development();
    let mut options: functions::Options = starting.options();
    options.app_dir = starting.app.to_owned();
    options.cache_dir = Some(own_dir.join("workers"));
    options.ignored_dirs = vec![data_dir.to_owned()];
    options.development = development;
    options.runs_triggers = !starting.only_checks;
    // Core Tools need no keys on a developer's machine; on other machines a function without its key would be open to everybody.
    options.enable_auth |= !development;
    let asks_for_keys = options.enable_auth;
    let connectors = wiring::connectors(
        &starting.config.connectors,
        starting.embedded,
        local_services(&starting),
        (&resources.egress, &resources.bodies),
        &own_dir,
    );
    let dependencies = functions::Dependencies {
        environment: starting.environment.clone(),
        registry: resources.store.registry(),
        lease: resources.store.lease(),
        owner: format!("chappe-{}", uuid::Uuid::new_v4()),
        connectors,
        bodies: resources.bodies.clone(),
        tracer: resources.tracer.clone(),
        supervisor: starting.supervisor.clone(),
        workers: None,
    };
    let (service, handle, join) = functions::start(options, dependencies, starting.metrics)?;
    if !starting.only_checks {
        wiring::connect_triggers(starting.embedded, &handle);
    }
    if asks_for_keys {
        write_master_key(&handle, &own_dir, development).await?;
    }
    let service = UpstreamService::new(service);
    Ok(Started {
        service: UpstreamService::new(service.map_request(with_client_address)),
        handle: Arc::new(handle),
        join: Box::new(join),
        parts: Vec::new(),
        about: "as Functions Core Tools".to_owned(),
    })
}

/// Where the host stores its own files: the data folder, or a folder in it if there are several hosts.
fn own_folder(id: &ServiceId, data_dir: &Path) -> anyhow::Result<PathBuf> {
    if id.is_default() {
        return Ok(data_dir.to_owned());
    }
    let folder = data_dir.join(named_folder(&id.to_string()));
    data_folder::make(&folder)?;
    Ok(folder)
}

/// How connection strings refer to the services of this process.
fn local_services(starting: &Starting<'_>) -> LocalServices {
    let reachable = |service: &ConfiguredService| Reachable {
        id: service.id.clone(),
        // The emulators' ports refer to the default services.
        emulator_port: service.section.port.filter(|_| service.id.is_default()),
        gateways: gateways_to(service, starting),
    };
    let services = starting.config.services.iter().map(reachable).collect();
    LocalServices::new(services, starting.addresses.clone(), starting.config.public_url.as_deref())
}

/// The gateways that route to a service at the path that its clients expect.
fn gateways_to(service: &ConfiguredService, starting: &Starting<'_>) -> Vec<ServiceId> {
    let Some(target) = service.target() else { return Vec::new() };
    let of_section =
        starting.default_routes.iter().find(|(_, default)| service.section.target == Some(default));
    let Some((path, default)) = of_section else { return Vec::new() };
    let leads = |gateway: &&ConfiguredService| {
        let Some(options) = gateway.options.as_any().downcast_ref::<gateway::Options>() else { return false };
        let mut routes = options.routes.iter();
        match routes.find(|route| route.path.trim_end_matches('/') == *path) {
            Some(route) => route.service.as_ref() == Some(&target),
            None => *default == target,
        }
    };
    starting.config.services.iter().filter(leads).map(|gateway| gateway.id.clone()).collect()
}

/// Passes the caller to the functions host, which knows nothing of connections.
fn with_client_address(mut request: Request<Body>) -> Request<Body> {
    if let Some(peer) = request.extensions().get::<edge::Peer>() {
        let client = functions::ClientAddress(peer.remote.ip());
        request.extensions_mut().insert(client);
    }
    request
}

/// If function keys are required, the owner of the machine must be able to read the master key.
async fn write_master_key(functions: &Handle, data_dir: &Path, development: bool) -> anyhow::Result<()> {
    let file = keys::write_master_key(data_dir, &functions.master_key().await?)?;
    if !development && functions.has_void_keys().await? {
        tracing::warn!(
            "function, host and master keys of this app that were made in development mode open nothing here; callers need new ones: read them at /admin/host/keys and /admin/functions/<name>/keys with the master key in {}",
            file.display()
        );
    }
    tracing::info!("function keys are asked for; the master key is in {}", file.display());
    Ok(())
}

#[async_trait]
impl ServiceHandle for Handle {
    fn admin(&self, mount: &str) -> Option<UpstreamService> {
        Some(UpstreamService::new(functions::Admin::new(self.clone(), mount)))
    }

    fn prepare(&self, options: &dyn SectionOptions) -> Result<Change, String> {
        let options = options.as_any().downcast_ref().expect("a row has the options of its section");
        Handle::prepare(self, options).map(Change::from_future).map_err(|error| error.to_string())
    }

    async fn info(&self) -> Map<String, Value> {
        Map::from_iter([("workers".to_owned(), json!(self.worker_pids()))])
    }

    /// The functions, once the worker has reported them, and the settings that they use. An app that fails at first has logged its
    /// error, and is listed once it runs.
    async fn listing(&self, base: &str) -> Option<String> {
        if !self.started().await {
            return None;
        }
        let text = self.startup_listing(base);
        Some(text + &settings_text(&self.settings_used()).unwrap_or_default())
    }

    /// What prevents functions from running.
    async fn check(&self) -> Findings {
        let mut findings = Findings::default();
        let app = self.app();
        let packages = if app.language == "node" { missing_packages(&app.dir) } else { Vec::new() };
        if !packages.is_empty() {
            let text = format!(
                "packages that package.json names are not installed: {}; run `npm install` in {}",
                packages.join(", "),
                app.dir.display()
            );
            findings.problems.push(Problem { code: configuration::CHECK.code, text });
        }
        match tokio::time::timeout(LOAD_MAX, self.ready()).await {
            Ok(Ok(())) => check_functions(self, &mut findings),
            Ok(Err(error)) => {
                let text = error_chain(&error);
                // The worker's error names the first of the packages reported above.
                let is_told =
                    |package: &String| text.contains(&format!("the package '{package}' is not installed"));
                if !packages.iter().any(is_told) {
                    let code = error.description().code;
                    let text = format!("the app cannot be loaded: {text}");
                    findings.problems.push(Problem { code, text });
                }
            }
            Err(_) => {
                let text = format!(
                    "the app was not loaded within {LOAD_MAX:?}; do long work in the first invocation"
                );
                findings.problems.push(Problem { code: configuration::CHECK.code, text });
            }
        }
        findings
    }
}

/// Functions in error, and missing settings.
fn check_functions(functions: &Handle, findings: &mut Findings) {
    let settings = functions.settings_used();
    let missing: Vec<_> = settings.iter().filter(|setting| !setting.is_set).collect();
    let problem = |code: &'static str, text: String| Problem { code, text };
    let of_missing = missing.iter().map(|setting| problem("functions-missing-setting", setting.to_string()));
    findings.problems.extend(of_missing);
    for function in functions.functions() {
        let lacks_setting = missing.iter().any(|setting| setting.functions.contains(&function.name));
        match function.state {
            FunctionState::Ready | FunctionState::Disabled => findings.functions.push(function.name),
            // Reported with the setting, once for all functions that need it.
            FunctionState::InError { .. } if lacks_setting => {}
            FunctionState::InError { code, reason } => {
                let text = format!("the function '{}' is in error: {reason}", function.name);
                findings.problems.push(problem(code, text));
            }
        }
    }
    if findings.functions.is_empty() && findings.problems.is_empty() {
        let lines = functions.logs().tail(0);
        let warnings = lines.into_iter().filter(|line| line.level >= functions::Level::Warn);
        let of_warnings =
            warnings.map(|line| problem(line.code.unwrap_or(configuration::CHECK.code), line.text));
        findings.problems.extend(of_warnings);
    }
}

/// The names of the settings that the app's functions use, for display; never their values.
fn settings_text(settings: &[functions::SettingUse]) -> Option<String> {
    let names = |is_set: bool| -> Vec<&str> {
        settings
            .iter()
            .filter(|setting| setting.is_set == is_set)
            .map(|setting| setting.name.as_str())
            .collect()
    };
    let mut text = String::new();
    for (title, names) in [("Settings in use", names(true)), ("Settings that are missing", names(false))] {
        if !names.is_empty() {
            text += &format!("\n{title}: {}\n", names.join(", "));
        }
    }
    (!text.is_empty()).then_some(text)
}

#[async_trait]
impl ServiceJoin for functions::Join {
    async fn drain(self: Box<Self>, limit: Duration) {
        functions::Join::drain(*self, limit).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_by_name() {
        let setting = |name: &str, is_set| functions::SettingUse {
            name: name.to_owned(),
            functions: Vec::new(),
            is_set,
            closest: None,
            example: String::new(),
        };
        let text = settings_text(&[setting("Db", true), setting("Hub", false), setting("Cron", true)]);
        assert_eq!(text.as_deref(), Some("\nSettings in use: Db, Cron\n\nSettings that are missing: Hub\n"));
        assert_eq!(settings_text(&[]), None);
    }
}
