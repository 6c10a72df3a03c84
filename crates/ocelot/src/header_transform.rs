//! `UpstreamHeaderTransform` and `DownstreamHeaderTransform`.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What `{BaseUrl}` stands for where `BaseUrl` is not configured.
const DEFAULT_BASE_URL: &str = "http://localhost:5000";

/// Header transforms, compiled. Entries apply in alphabetical order of their names: first those that replace a part, then the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderTransforms {
    upstream: Vec<Transform>,
    downstream: Vec<Transform>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Transform {
    name: HeaderName,
    change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// `find, replace`.
    Replace {
        find: String,
        replacement: String,
    },
    Set(HeaderValue),
    RemoteIpAddress,
    UpstreamHost,
    /// A placeholder without a value here: the header is removed.
    Remove,
}

/// What placeholders stand for in one request.
#[derive(Clone, Copy, Debug)]
pub struct TransformContext<'a> {
    /// The address of the client.
    pub remote_address: &'a str,
    /// Scheme, host and port of the chosen instance, with a final slash.
    pub downstream_base_url: &'a str,
}

/// Name and reason of an entry that has no effect.
pub(crate) type Ineffective = (String, String);

impl HeaderTransforms {
    /// Compiles the transforms of a route; an entry of the route beats the global one of the same name.
    pub(crate) fn compile(
        upstream: [&[(String, String)]; 2],
        downstream: [&[(String, String)]; 2],
        base_url: Option<&str>,
        ineffective: &mut Vec<Ineffective>,
    ) -> Self {
        let base_url = base_url.unwrap_or(DEFAULT_BASE_URL);
        Self {
            upstream: transforms(upstream, base_url, "UpstreamHeaderTransform", ineffective),
            downstream: transforms(downstream, base_url, "DownstreamHeaderTransform", ineffective),
        }
    }

    /// True if requests go downstream with their headers as they are.
    pub fn keep_request_headers(&self) -> bool {
        self.upstream.is_empty()
    }

    /// True if responses go back with their headers as they are.
    pub fn keep_response_headers(&self) -> bool {
        self.downstream.is_empty()
    }

    /// Changes the headers of a request. A changed `Host` is only seen by `{UpstreamHost}`: what goes downstream has the host of the
    /// instance.
    pub fn apply_to_request(&self, headers: &mut HeaderMap, context: &TransformContext<'_>) {
        for transform in &self.upstream {
            let value = match &transform.change {
                Change::Replace { find, replacement } => {
                    replace(headers, &transform.name, find, replacement);
                    continue;
                }
                Change::Set(value) => Some(value.clone()),
                Change::RemoteIpAddress => HeaderValue::from_str(context.remote_address).ok(),
                Change::UpstreamHost => headers.get(HOST).cloned(),
                Change::Remove => None,
            };
            headers.remove(&transform.name);
            // Ocelot adds no header without a value.
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                headers.insert(transform.name.clone(), value);
            }
        }
    }

    /// Changes the headers of a response that came from downstream. A constant replaces no header that is there, except Content-Type.
    /// `request` has the headers after [`HeaderTransforms::apply_to_request`].
    pub fn apply_to_response(
        &self,
        headers: &mut HeaderMap,
        request: &HeaderMap,
        context: &TransformContext<'_>,
    ) {
        for Transform { name, change } in &self.downstream {
            let value = match change {
                Change::Replace { find, replacement } => {
                    let find = find.replace("{DownstreamBaseUrl}", context.downstream_base_url);
                    replace(headers, name, &find, replacement);
                    continue;
                }
                Change::Set(value) => Some(value.clone()),
                Change::RemoteIpAddress => HeaderValue::from_str(context.remote_address).ok(),
                Change::UpstreamHost => request.get(HOST).cloned(),
                Change::Remove => None,
            };
            let Some(value) = value else { continue };
            if *name == http::header::CONTENT_TYPE || !headers.contains_key(name) {
                headers.insert(name.clone(), value);
            }
        }
    }
}

/// Keeps the first of several values, as Ocelot does.
fn replace(headers: &mut HeaderMap, name: &HeaderName, find: &str, replacement: &str) {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else { return };
    if let Ok(value) = HeaderValue::from_str(&value.replace(find, replacement)) {
        headers.insert(name.clone(), value);
    }
}

fn transforms(
    [own, global]: [&[(String, String)]; 2],
    base_url: &str,
    property: &str,
    ineffective: &mut Vec<Ineffective>,
) -> Vec<Transform> {
    let inherited = global.iter().filter(|(name, _)| !own.iter().any(|(other, _)| other == name));
    let (mut replacing, mut setting) = (Vec::new(), Vec::new());
    for (name, text) in own.iter().chain(inherited) {
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not the name of a header".to_owned());
        match parsed.and_then(|name| Ok(Transform { name, change: change(text, base_url)? })) {
            Ok(transform) if matches!(transform.change, Change::Replace { .. }) => replacing.push(transform),
            Ok(transform) => setting.push(transform),
            Err(reason) => ineffective.push((format!("{property}.{name}"), reason)),
        }
    }
    replacing.append(&mut setting);
    replacing
}

fn change(text: &str, base_url: &str) -> Result<Change, String> {
    if let Some((find, rest)) = text.split_once(',') {
        // Only the first two parts count.
        let replacement = rest.split(',').next().unwrap_or(rest).trim_start();
        if find.is_empty() {
            return Err("there is nothing to find before the comma".to_owned());
        }
        return Ok(Change::Replace { find: find.to_owned(), replacement: expand(replacement, base_url)? });
    }
    let value =
        |text: &str| HeaderValue::from_str(text).map_err(|_| format!("{text:?} is no value of a header"));
    match text {
        "{BaseUrl}" => value(base_url).map(Change::Set),
        "{RemoteIpAddress}" => Ok(Change::RemoteIpAddress),
        "{UpstreamHost}" => Ok(Change::UpstreamHost),
        // `{DownstreamBaseUrl}`, `{TraceId}` and unknown ones have no value there.
        _ if text.starts_with('{') && text.ends_with('}') => Ok(Change::Remove),
        _ => value(text).map(Change::Set),
    }
}

/// A replacement is read when the configuration is loaded: of the placeholders only `{BaseUrl}` has a value then.
fn expand(replacement: &str, base_url: &str) -> Result<String, String> {
    let Some(start) = replacement.find('{') else { return Ok(replacement.to_owned()) };
    let end = replacement[start..].find('}').map(|end| start + end + 1);
    match end.map(|end| &replacement[start..end]) {
        Some("{BaseUrl}") => Ok(replacement.replace("{BaseUrl}", base_url)),
        _ => Err(format!("{replacement:?}: of the placeholders only {{BaseUrl}} may follow the comma")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(entries: &[(&str, &str)]) -> Vec<(String, String)> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_entry_of_the_route_beats_the_global_one() {
        let (own, global) = (entries(&[("X-A", "route")]), entries(&[("X-A", "global"), ("X-B", "global")]));
        let mut ineffective = Vec::new();
        let transforms = HeaderTransforms::compile([&own, &global], [&[], &[]], None, &mut ineffective);
        let mut headers = HeaderMap::new();
        let context =
            TransformContext { remote_address: "127.0.0.1", downstream_base_url: "http://127.0.0.1:1/" };
        transforms.apply_to_request(&mut headers, &context);
        let found: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(found, [("x-a", b"route".as_slice()), ("x-b", b"global")]);
        assert_eq!(ineffective, []);
    }

    #[test]
    fn an_entry_that_cannot_work_is_reported_and_has_no_effect() {
        let own = entries(&[("X-A", ", b"), ("X B", "x"), ("X-C", "a, {RemoteIpAddress}")]);
        let mut ineffective = Vec::new();
        let transforms = HeaderTransforms::compile([&own, &[]], [&[], &[]], None, &mut ineffective);
        assert!(transforms.keep_request_headers());
        let names: Vec<_> = ineffective.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["UpstreamHeaderTransform.X-A", "UpstreamHeaderTransform.X B", "UpstreamHeaderTransform.X-C"]
        );
    }

    #[test]
    fn a_location_of_the_instance_becomes_one_of_the_gateway() {
        let own = entries(&[("Location", "{DownstreamBaseUrl}, {BaseUrl}/"), ("Vary", "Z")]);
        let base = Some("http://gateway.test:5000");
        let transforms = HeaderTransforms::compile([&[], &[]], [&own, &[]], base, &mut Vec::new());
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_static("http://10.0.0.1:81/a"));
        headers.insert("vary", HeaderValue::from_static("A"));
        let context = TransformContext { remote_address: "::1", downstream_base_url: "http://10.0.0.1:81/" };
        transforms.apply_to_response(&mut headers, &HeaderMap::new(), &context);
        assert_eq!(headers["location"], "http://gateway.test:5000/a");
        assert_eq!(headers["vary"], "A");
    }
}
