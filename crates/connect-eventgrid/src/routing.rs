//! How a request finds its function: by `functionName` in the query. Pure.

use functions_contract::{PushExtension, PushRequest, PushResponse, query_parameter};
use http::StatusCode;

use crate::response::plain;

/// The extension `eventgrid`.
pub(crate) struct Routing;

impl PushExtension for Routing {
    fn name(&self) -> &'static str {
        "eventgrid"
    }

    fn address(&self, request: &PushRequest) -> Result<String, Box<PushResponse>> {
        let name = function_name(request);
        if name.is_empty() {
            return Err(Box::new(self.not_found(request)));
        }
        Ok(name.to_lowercase())
    }

    fn not_found(&self, request: &PushRequest) -> PushResponse {
        // The text of the Azure Functions extension.
        let why = format!("cannot find function: '{}'", function_name(request));
        plain(StatusCode::NOT_FOUND, &why)
    }
}

fn function_name(request: &PushRequest) -> String {
    query_parameter(request.uri().query().unwrap_or_default(), "functionName").unwrap_or_default()
}
