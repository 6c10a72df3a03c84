//! [`describe`]: the stable code of an error that ends a command. The exit code follows from it.

use std::error::Error;

use edge::{AuthorityError, BindError, TlsConfigError};
use http_messages::ErrorDescription;

use crate::command_error::CommandError;
use crate::config::ConfigError;
use crate::data_folder::{self, DataFolderError};
use crate::demo::PrepareError;
use crate::drain::Overdue;
use crate::error_table::{configuration, data, process};
use crate::keys::KeysError;
use crate::plan::PlanError;
use crate::ports::PortsError;
use crate::services;
use crate::trust::TrustError;

/// The description of an error: that of the outermost error that has one, or [`process::OTHER`] if none has.
pub(crate) fn describe(error: &anyhow::Error) -> &'static ErrorDescription {
    if let Some(error) = error.downcast_ref::<CommandError>() {
        return error.description;
    }
    error.chain().find_map(described).unwrap_or(&process::OTHER)
}

fn described(error: &(dyn Error + 'static)) -> Option<&'static ErrorDescription> {
    services::TABLE
        .iter()
        .find_map(|row| (row.describe)(error))
        .or_else(|| of_configuration(error))
        .or_else(|| of_data(error))
        .or_else(|| of_process(error))
}

fn of_configuration(error: &(dyn Error + 'static)) -> Option<&'static ErrorDescription> {
    let certificate = || error.downcast_ref().map(TlsConfigError::description);
    let authority = || error.downcast_ref().map(AuthorityError::description);
    let plan = || error.downcast_ref().map(of_plan);
    let trust = || error.downcast_ref().map(of_trust);
    let config = || error.downcast_ref().map(of_config);
    let demo = || error.downcast_ref().map(of_demo);
    let egress = || error.is::<egress::OptionsError>().then_some(&configuration::EGRESS);
    plan()
        .or_else(trust)
        .or_else(config)
        .or_else(demo)
        .or_else(egress)
        .or_else(certificate)
        .or_else(authority)
}

fn of_plan(error: &PlanError) -> &'static ErrorDescription {
    match error {
        PlanError::Config(error) => of_config(error),
        PlanError::Service(_) => &configuration::SERVICE_INVALID,
        PlanError::App(error) => error.description(),
        PlanError::HalfCertificate => &configuration::HALF_CERTIFICATE,
        PlanError::NoRoomForBody { .. } => &configuration::BODY_LIMIT,
        PlanError::Flag(_) => &configuration::FUNC_FLAG,
        PlanError::Demo(error) => of_demo(error),
    }
}

fn of_config(error: &ConfigError) -> &'static ErrorDescription {
    match error {
        ConfigError::Unreadable { .. } => &configuration::FILE_UNREADABLE,
        ConfigError::Invalid { .. } => &configuration::INVALID,
    }
}

fn of_trust(error: &TrustError) -> &'static ErrorDescription {
    match error {
        TrustError::Plan(error) => of_plan(error),
        TrustError::NoFolder(_) => &configuration::TRUST_FOLDER,
        TrustError::OwnCertificate(_) => &configuration::TRUST_OWN_CERTIFICATE,
    }
}

fn of_demo(error: &PrepareError) -> &'static ErrorDescription {
    match error {
        PrepareError::NotTheExample { .. } => &configuration::DEMO_NOT_THE_EXAMPLE,
        PrepareError::NotAsked { .. } => &configuration::DEMO_NOT_CONFIRMED,
        PrepareError::Unpack { .. } => &configuration::DEMO_UNPACK,
        PrepareError::NoNode { .. } => &configuration::DEMO_NO_NODE,
        PrepareError::Npm { .. } => &configuration::DEMO_NPM,
    }
}

fn of_data(error: &(dyn Error + 'static)) -> Option<&'static ErrorDescription> {
    let folder = || error.downcast_ref().map(DataFolderError::description);
    let mode = || error.downcast_ref().map(data_folder::of_folder);
    let store = || error.downcast_ref().map(data_folder::of_store);
    let keys = || {
        error.downcast_ref().map(|error| match error {
            KeysError::File { .. } => &data::KEYS_FILE,
            KeysError::Content { .. } => &data::KEYS_CONTENT,
        })
    };
    folder().or_else(mode).or_else(store).or_else(keys)
}

fn of_process(error: &(dyn Error + 'static)) -> Option<&'static ErrorDescription> {
    let ports = || {
        error.downcast_ref().map(|error| match error {
            PortsError::Configured { .. } => &process::CONFIGURED_PORT,
            PortsError::Default { .. } => &process::DEFAULT_PORT,
        })
    };
    let bind = || error.downcast_ref().map(BindError::description);
    let failure = || error.is::<supervision::Failure>().then_some(&process::PART_ENDED);
    let overdue = || error.is::<Overdue>().then_some(&process::NOT_DRAINED);
    ports().or_else(bind).or_else(failure).or_else(overdue)
}
