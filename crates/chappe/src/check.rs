//! `chappe check`: finds what keeps `start` from working, without listening anywhere and without touching the data. The services are
//! assembled on a temporary folder, and the app is loaded as at a start; no trigger is started and no function is called.

use std::time::Duration;

use anyhow::Context;
use edge::TlsConfig;
use functions::FunctionState;
use functions::app::missing_packages;
use http_messages::error_chain;

use crate::assemble::{self, House};
use crate::plan::Plan;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What is wrong; each says what to do.
    pub(crate) problems: Vec<String>,
    /// The functions that can run.
    pub(crate) functions: Vec<String>,
}

/// Longest that an app may take to load; above what its worker is given for each step.
const LOAD_MAX: Duration = Duration::from_secs(200);

/// How long the services have to end.
const END: Duration = Duration::from_secs(5);

/// Finds everything that is wrong and can be found without the others being right.
pub(crate) fn run(mut plan: Plan) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    files(&mut plan, &mut findings.problems);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        match assemble::assemble(&plan).await {
            Ok(house) => {
                if let Some(functions) = &house.functions {
                    app(&plan, functions, &mut findings).await;
                }
                end(house).await;
            }
            Err(error) => findings.problems.push(error_chain(error.as_ref())),
        }
    });
    runtime.shutdown_background();
    Ok(findings)
}

/// Files and folders that the configuration names. What was found wrong is taken out of the plan, so that it does not hide the rest.
fn files(plan: &mut Plan, problems: &mut Vec<String>) {
    let tls = &mut plan.config.tls;
    if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file)
        && let Err(error) = TlsConfig::from_pem_files(certificate, key)
    {
        problems.push(format!("[tls]: {}", error_chain(&error)));
        (tls.certificate_file, tls.key_file) = (None, None);
    }
    for route in &plan.config.gateway.routes {
        if let Some(folder) = route.directory.as_ref().filter(|folder| !folder.is_dir()) {
            problems.push(missing_folder(&route.path, folder));
        }
    }
    plan.config.egress.extra_root_files.retain(|file| match std::fs::File::open(file) {
        Ok(_) => true,
        Err(error) => {
            problems.push(format!(
                "egress.extra_root_files names {}, which cannot be read ({error}); correct the name, or remove it",
                file.display()
            ));
            false
        }
    });
}

/// What is said of a route that leads to a folder which is not there, here and at the start.
pub(crate) fn missing_folder(route: &str, folder: &std::path::Path) -> String {
    format!(
        "[[gateway.routes]]: the route {route:?} leads to the folder {}, which does not exist; make it, or correct `directory`",
        folder.display()
    )
}

/// What keeps functions from running.
async fn app(plan: &Plan, functions: &functions::Handle, findings: &mut Findings) {
    let packages = if functions.app().language == "node" { missing_packages(&plan.app) } else { Vec::new() };
    if !packages.is_empty() {
        findings.problems.push(format!(
            "packages that package.json names are not installed: {}; run `npm install` in {}",
            packages.join(", "),
            plan.app.display()
        ));
    }
    match tokio::time::timeout(LOAD_MAX, functions.ready()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let text = error_chain(&error);
            // The worker names the first of the packages that were named above.
            if packages
                .iter()
                .all(|package| !text.contains(&format!("the package '{package}' is not installed")))
            {
                findings.problems.push(format!("the app cannot be loaded: {text}"));
            }
            return;
        }
        Err(_) => {
            findings.problems.push(format!(
                "the app was not loaded within {LOAD_MAX:?}; do long work in the first invocation"
            ));
            return;
        }
    }
    let settings = functions.settings_used();
    let missing: Vec<_> = settings.iter().filter(|setting| !setting.is_set).collect();
    findings.problems.extend(missing.iter().map(ToString::to_string));
    for function in functions.functions() {
        let lacks_setting = missing.iter().any(|setting| setting.functions.contains(&function.name));
        match function.state {
            FunctionState::Ready | FunctionState::Disabled => findings.functions.push(function.name),
            // Said with the setting, once for all functions that need it.
            FunctionState::InError(_) if lacks_setting => {}
            FunctionState::InError(why) => {
                findings.problems.push(format!("the function '{}' is in error: {why}", function.name));
            }
        }
    }
    if findings.functions.is_empty() && findings.problems.is_empty() {
        let lines = functions.logs().tail(0);
        findings.problems.extend(
            lines.into_iter().filter(|line| line.level >= functions::Level::Warn).map(|line| line.text),
        );
    }
}

async fn end(house: House) {
    house.supervisor.stopping();
    if let Some(functions) = &house.functions {
        functions.drain(END).await;
    }
    house.realtime.drain(END).await;
    house.documents.drain().await;
    house.store.close().await;
    house.egress.close().await;
    drop(house.temporary);
}
