//! `chappe check`: finds what prevents `start` from working, without listening and without changing the data. The services are
//! assembled on a temporary folder, and the app is loaded as at a start; no trigger starts and no function is called.

use std::time::Duration;

use anyhow::Context;
use edge::TlsConfig;

use crate::assemble::assemble;
use crate::command_error::CommandError;
use crate::error_code;
use crate::error_table::{configuration, process};
use crate::plan::Plan;
use crate::services::{Findings, Problem, Table, missing_folder};
use http_messages::error_chain;

/// Longest time for the services to end.
const END: Duration = Duration::from_secs(5);

/// Finds all errors that can be found independently of each other.
pub(crate) fn run(mut plan: Plan, table: Table) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    files(&mut plan, &mut findings.problems);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context(CommandError::new(&process::RUNTIME, "start the runtime"))?;
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
            Err(error) => {
                let code = error_code::describe(&error).code;
                findings.problems.push(Problem { code, text: error_chain(error.as_ref()) });
            }
        }
    });
    runtime.shutdown_background();
    Ok(findings)
}

/// Checks the files and folders that the configuration names. Wrong ones are removed from the plan, so that they do not hide other
/// errors.
fn files(plan: &mut Plan, problems: &mut Vec<Problem>) {
    let tls = &mut plan.config.tls;
    if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file)
        && let Err(error) = TlsConfig::from_pem_files(certificate, key)
    {
        let text = format!("[tls]: {}", error_chain(&error));
        problems.push(Problem { code: error.description().code, text });
        (tls.certificate_file, tls.key_file) = (None, None);
    }
    let folders = plan.config.services.iter().flat_map(|service| service.options.folders());
    for (route, folder) in folders.filter(|(_, folder)| !folder.is_dir()) {
        let code = configuration::SERVICE_INVALID.code;
        problems.push(Problem { code, text: missing_folder(&route, &folder) });
    }
    plan.config.egress.extra_root_files.retain(|file| match std::fs::File::open(file) {
        Ok(_) => true,
        Err(error) => {
            let text = format!(
                "egress.extra_root_files names {}, which cannot be read ({error}); correct the name, or remove it",
                file.display()
            );
            problems.push(Problem { code: configuration::EGRESS.code, text });
            false
        }
    });
}
