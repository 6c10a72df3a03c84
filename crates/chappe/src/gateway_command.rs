//! `chappe gateway`: checks, lists and explains the routes of an Ocelot configuration or of `chappe.toml`.
//!
//! - `source.rs`: finds the configuration and reads it.
//! - `ocelot_routes.rs`, `own_routes.rs`: print what `routes` and `explain` say, for each kind of configuration.

mod ocelot_routes;
mod own_routes;
mod request;
mod source;

use crate::cli::{ExplainArgs, GatewayCommand, GatewayFileArgs};
use crate::command_error::CommandError;
use crate::error_table::configuration;
use crate::exit;
use crate::ready;
use request::ExplainedRequest;
use source::RouteSource;

/// Runs a command of `chappe gateway`.
pub(crate) fn run(command: &GatewayCommand) -> anyhow::Result<()> {
    match command {
        GatewayCommand::Check(arguments) => check(arguments),
        GatewayCommand::Routes(arguments) => routes(arguments),
        GatewayCommand::Explain(arguments) => explain(arguments),
    }
}

fn check(arguments: &GatewayFileArgs) -> anyhow::Result<()> {
    match RouteSource::read(arguments.file.as_deref(), &arguments.environment)? {
        RouteSource::Ocelot(configuration) => {
            let problems = ocelot_routes::problems(&configuration);
            for notice in ocelot_routes::notices(&configuration) {
                ready::print(&format!("note: {notice}"));
            }
            for problem in &problems {
                eprintln!("error: {problem}");
            }
            if !problems.is_empty() {
                eprintln!("  code: {}", configuration::CHECK.code);
                return Err(exit::Logged { code: exit::USAGE }.into());
            }
            let count = configuration.routes.len() + configuration.aggregates.len();
            ready::print(&format!("The configuration is in order; it has {count} routes."));
        }
        RouteSource::Own(gateways) => {
            let count: usize = gateways.iter().map(|(_, options)| options.routes.len()).sum();
            ready::print(&format!(
                "The configuration is in order; with the default routes it has {count} routes."
            ));
        }
    }
    Ok(())
}

fn routes(arguments: &GatewayFileArgs) -> anyhow::Result<()> {
    let text = match RouteSource::read(arguments.file.as_deref(), &arguments.environment)? {
        RouteSource::Ocelot(configuration) => {
            ocelot_routes::list(&router(&configuration)?, &configuration.dynamic_routes)
        }
        RouteSource::Own(gateways) => own_routes::list(&gateways),
    };
    ready::print(text.trim_end());
    Ok(())
}

fn explain(arguments: &ExplainArgs) -> anyhow::Result<()> {
    let request = ExplainedRequest::new(&arguments.method, &arguments.target, &arguments.headers)?;
    let text = match RouteSource::read(arguments.file.as_deref(), &arguments.environment)? {
        RouteSource::Ocelot(configuration) => ocelot_routes::explain(&router(&configuration)?, &request),
        RouteSource::Own(gateways) => own_routes::explain(&gateways, &request),
    };
    ready::print(text.trim_end());
    Ok(())
}

/// Routes that may not run are not explained: the explanation could be wrong.
fn router(configuration: &ocelot::OcelotConfiguration) -> anyhow::Result<ocelot::OcelotRouter> {
    let problems = ocelot_routes::problems(configuration);
    if let Some(first) = problems.first() {
        let text = match problems.len() - 1 {
            0 => first.to_string(),
            more => format!("{first} (and {more} more: chappe gateway check)"),
        };
        return Err(CommandError::new(&configuration::CHECK, text).into());
    }
    let compiled = ocelot::OcelotRouter::compile(configuration);
    compiled.map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        CommandError::new(&configuration::CHECK, all.join("; ")).into()
    })
}
