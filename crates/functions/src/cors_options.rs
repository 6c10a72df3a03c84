//! [`cors_policy`]: the CORS policy that options and app together ask for.

use crate::app::App;
use crate::error::Error;
use crate::http::CorsPolicy;
use crate::options::Options;

/// Which pages may call the app, by the options, or by `local.settings.json` where those say nothing.
///
/// # Errors
///
/// If one of the exposed headers is no name of a header.
pub(crate) fn cors_policy(options: &Options, app: &App) -> Result<CorsPolicy, Error> {
    let origins =
        if options.cors_origins.is_empty() { &app.local.cors_origins } else { &options.cors_origins };
    let credentials = options.cors_credentials.unwrap_or(app.local.cors_credentials);
    let cors = CorsPolicy::new(origins, credentials).exposing(&options.cors_exposed_headers);
    cors.ok_or_else(|| {
        let names = options.cors_exposed_headers.join(", ");
        Error::Setting(format!(
            "functions.cors_exposed_headers has \"{names}\", of which one is not a valid header name"
        ))
    })
}
