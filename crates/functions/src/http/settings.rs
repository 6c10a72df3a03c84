//! [`HttpSettings`]: what the files and settings of an app say about HTTP requests.

use std::sync::Arc;

use functions_contract::AppSettings as _;
use http::{HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::error::Error;
use crate::options::Options;

/// What the files and settings of one generation of the app say about HTTP requests.
#[derive(Debug)]
pub(crate) struct HttpSettings {
    /// The id of the host.
    pub(crate) host_id: String,
    /// `extensions.http` of `host.json`.
    pub(crate) section: crate::app::HttpSection,
    /// Whether `/` has no page (`AzureWebJobsDisableHomepage`).
    pub(crate) is_home_disabled: bool,
    pub(crate) body_bytes_max: usize,
    /// Limits active and waiting requests.
    pub(crate) outstanding: Arc<Semaphore>,
    /// Limits requests whose function runs; `None` = no limit.
    pub(crate) concurrent: Option<Arc<Semaphore>>,
    pub(crate) custom_headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpSettings {
    /// Reads the settings of an app.
    ///
    /// # Errors
    ///
    /// If a setting has an invalid value.
    pub(crate) fn of(options: &Options, app: &App) -> Result<Self, Error> {
        let http = &app.host.http;
        let outstanding =
            http.outstanding_requests_max.map_or(options.requests_max, |max| max.min(options.requests_max));
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Ok(Self {
            host_id: app.settings.host_id().to_owned(),
            section: http.clone(),
            is_home_disabled: app.settings.is_on("AzureWebJobsDisableHomepage"),
            body_bytes_max: body_bytes_max(options, app)?,
            outstanding: semaphore(outstanding),
            concurrent: http.concurrent_requests_max.map(semaphore),
            custom_headers: http.custom_headers.iter().map(custom_header).collect::<Result<_, _>>()?,
        })
    }

    /// The settings of an app whose own ones are invalid.
    pub(crate) fn of_options(options: &Options, app: &App) -> Self {
        let outstanding = options.requests_max.min(Semaphore::MAX_PERMITS);
        Self {
            host_id: app.settings.host_id().to_owned(),
            section: app.host.http.clone(),
            is_home_disabled: false,
            body_bytes_max: options.body_bytes_max,
            outstanding: Arc::new(Semaphore::new(outstanding)),
            concurrent: None,
            custom_headers: Vec::new(),
        }
    }

    /// Waits until one more function may run.
    pub(crate) async fn concurrent(&self) -> Option<OwnedSemaphorePermit> {
        let limit = self.concurrent.as_ref()?;
        Arc::clone(limit).acquire_owned().await.ok()
    }

    /// Whether a path may belong to a function: below the route prefix, if there is one. Other requests do not wait for the app and do
    /// not report its failure.
    pub(crate) fn may_have_route(&self, path: &str) -> bool {
        let prefix = &self.section.route_prefix;
        let head = path.strip_prefix('/').and_then(|path| path.get(..prefix.len()));
        let is_below = head.is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        // A prefix with parameters is matched by the routes.
        prefix.is_empty()
            || prefix.contains('{')
            || (is_below && matches!(path.as_bytes().get(prefix.len() + 1), None | Some(b'/')))
    }
}

fn custom_header((name, value): &(String, String)) -> Result<(HeaderName, HeaderValue), Error> {
    let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
    parsed.ok_or_else(|| {
        Error::Setting(format!(
            "host.json: extensions.http.customHeaders has \"{name}\", which is not a valid header"
        ))
    })
}

fn body_bytes_max(options: &Options, app: &App) -> Result<usize, Error> {
    const NAME: &str = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT";
    match app.settings.get(NAME) {
        None => Ok(options.body_bytes_max),
        Some(text) => text.trim().parse().map_err(|_| {
            Error::Setting(format!("the setting {NAME} is \"{text}\", which is not a number of bytes"))
        }),
    }
}
