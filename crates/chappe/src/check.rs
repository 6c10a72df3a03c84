//! `chappe check`: finds what keeps `start` from working, without listening anywhere and without touching the data. The services are
//! assembled on a temporary folder, and the app is loaded as at a start; no trigger is started and no function is called.

use std::time::Duration;

use anyhow::Context;
use edge::TlsConfig;

use crate::assemble::assemble;
use crate::plan::Plan;
use crate::services::{Findings, Table, missing_folder};
use http_messages::error_chain;

/// How long the services have to end.
const END: Duration = Duration::from_secs(5);

/// Finds everything that is wrong and can be found without the others being right.
pub(crate) fn run(mut plan: Plan, table: Table) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    files(&mut plan, &mut findings.problems);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        match assemble(&plan, table).await {
            Ok(mut process) => {
                for service in &process.services {
                    let found = service.handle.check().await;
                    findings.problems.extend(found.problems);
                    findings.functions.extend(found.functions);
                }
                process.supervisor.stopping();
                let egress = process.resources.egress.clone();
                process.drain_services(END, |_| {}, async {}).await;
                process.close().await;
                egress.close().await;
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
    let folders = plan.config.services.iter().flat_map(|service| service.options.folders());
    for (route, folder) in folders.filter(|(_, folder)| !folder.is_dir()) {
        problems.push(missing_folder(&route, &folder));
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
