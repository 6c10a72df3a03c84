//! [`UpstreamTemplates`]: the upstream that receives an event, and its URL. Pure.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::options::{Auth, TemplateOptions, without_query};

/// Characters that are not escaped in a parameter of a URL: the unreserved characters of RFC 3986 section 2.3, as in
/// `Uri.EscapeDataString`.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The category of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Category {
    Connections,
    Messages,
}

/// Templates in order; the first one that matches receives the event.
#[derive(Debug, Default)]
pub(crate) struct UpstreamTemplates(Vec<Template>);

/// One template, parsed.
pub(crate) struct Template {
    pieces: Vec<UrlSegment>,
    hub: Pattern,
    category: Pattern,
    event: Pattern,
    /// The resource of the managed identity's token, if one is used.
    pub(crate) token_for: Option<Arc<str>>,
    /// The URL for logs, without its query.
    pub(crate) shown: Box<str>,
}

#[derive(Debug, PartialEq, Eq)]
enum UrlSegment {
    Text(Box<str>),
    Hub,
    Category,
    Event,
}

/// `*`, one value, or several with commas between.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    OneOf(Vec<Box<str>>),
}

/// Why a template is invalid. The service does not start with it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("upstream template {number}: {flaw}")]
pub struct TemplateError {
    /// The number of the template, counted from 1; templates of a file follow those of the configuration.
    number: usize,
    flaw: TemplateProblem,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum TemplateProblem {
    #[error("it has no url_template; write for example http://localhost:7071/runtime/webhooks/signalr")]
    NoUrl,
    #[error(
        "secrets of Key Vault ({{@Microsoft.KeyVault(...)}}) are not supported; write the value itself, for example into the environment variable CHAPPE_REALTIME__UPSTREAM__TEMPLATES"
    )]
    KeyVault,
    #[error("`{{{0}}}` is not a parameter of url_template; use {{hub}}, {{category}} or {{event}}")]
    UnknownParameter(String),
    #[error("a brace in url_template is not closed; write %7B for a literal brace")]
    OpenBrace,
    #[error("`{0}` is not an absolute http or https address")]
    NotAbsolute(String),
    #[error("url_template must not contain a user name or a password; put a key into its query instead")]
    Credentials,
    #[error("{{event}} is in the host of url_template, and clients choose the event; put it into the path")]
    EventInHost,
    #[error("{0} has an empty value; write * for all")]
    EmptyPattern(&'static str),
    #[error("category_pattern has `{0}`, which is not a category; use connections or messages")]
    UnknownCategory(String),
    #[error("auth managed_identity needs auth_resource, the resource of the token, such as api://my-app")]
    NoResource,
    #[error("auth_resource is set, but auth is not managed_identity; remove it or set auth")]
    UnusedResource,
    #[error(
        "auth managed_identity needs an identity endpoint: set identity_endpoint and identity_header, or the variables IDENTITY_ENDPOINT and IDENTITY_HEADER"
    )]
    NoIdentity,
}

/// Why an event has no URL although a template matches it. The client receives the text.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AddressError {
    /// Servers read `..` in a path as the parent, escaped or not: a client could choose another path.
    #[error("a method name of dots only cannot be part of the upstream's URL")]
    DotEvent,
    #[error("the upstream's URL is too long with this method name")]
    TooLong,
}

impl Category {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Messages => "messages",
        }
    }
}

impl UpstreamTemplates {
    /// Checks and parses the templates. `has_identity` says whether an identity endpoint is configured.
    pub(crate) fn compile<'a>(
        templates: impl IntoIterator<Item = &'a TemplateOptions>,
        has_identity: bool,
    ) -> Result<Self, TemplateError> {
        let compile = |(index, template)| {
            Template::compile(template, has_identity)
                .map_err(|flaw| TemplateError { number: index + 1, flaw })
        };
        templates.into_iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are no templates.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a template may receive events of a hub.
    pub(crate) fn concern(&self, hub: &str) -> bool {
        self.0.iter().any(|template| template.hub.matches(hub))
    }

    /// The template that receives an event of a hub.
    pub(crate) fn find(&self, hub: &str, category: Category, event: &str) -> Option<&Template> {
        self.0.iter().find(|template| {
            template.hub.matches(hub)
                && template.category.matches(category.as_str())
                && template.event.matches(event)
        })
    }
}

impl Template {
    fn compile(options: &TemplateOptions, has_identity: bool) -> Result<Self, TemplateProblem> {
        let hub = Pattern::compile(&options.hub_pattern.to_ascii_lowercase(), "hub_pattern")?;
        let category = Pattern::compile(&options.category_pattern, "category_pattern")?;
        let known = [Category::Connections, Category::Messages].map(Category::as_str);
        if let Some(unknown) = category.values().iter().find(|value| !known.contains(&value.as_ref())) {
            return Err(TemplateProblem::UnknownCategory(unknown.to_string()));
        }
        let event = Pattern::compile(&options.event_pattern, "event_pattern")?;
        let token_for = match (options.auth, options.auth_resource.as_deref()) {
            (Auth::None, None) => None,
            (Auth::None, Some(_)) => return Err(TemplateProblem::UnusedResource),
            (Auth::ManagedIdentity, None | Some("")) => return Err(TemplateProblem::NoResource),
            (Auth::ManagedIdentity, Some(_)) if !has_identity => return Err(TemplateProblem::NoIdentity),
            (Auth::ManagedIdentity, Some(resource)) => Some(resource.into()),
        };
        let shown = without_query(&options.url_template).into();
        let template =
            Self { pieces: pieces(&options.url_template)?, hub, category, event, token_for, shown };
        template.check_address()?;
        Ok(template)
    }

    /// Checks that every URL that the template can produce is valid.
    fn check_address(&self) -> Result<(), TemplateProblem> {
        let example = |event| {
            let text = self.expand("hub", Category::Messages, event);
            let uri: Uri =
                text.parse().map_err(|_| TemplateProblem::NotAbsolute(without_query(&text).to_owned()))?;
            let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
            if !is_web || uri.host().is_none_or(str::is_empty) {
                return Err(TemplateProblem::NotAbsolute(without_query(&text).to_owned()));
            }
            Ok(uri)
        };
        let (one, other) = (example("a")?, example("b")?);
        if one.authority() != other.authority() {
            return Err(TemplateProblem::EventInHost);
        }
        if one.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(TemplateProblem::Credentials);
        }
        Ok(())
    }

    /// The URL for an event.
    pub(crate) fn address(&self, hub: &str, category: Category, event: &str) -> Result<Uri, AddressError> {
        if matches!(event, "." | "..") && self.pieces.contains(&UrlSegment::Event) {
            return Err(AddressError::DotEvent);
        }
        // Parameters are escaped, so that only the length can make the URL invalid.
        self.expand(hub, category, event).parse().map_err(|_| AddressError::TooLong)
    }

    fn expand(&self, hub: &str, category: Category, event: &str) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                UrlSegment::Text(piece) => text.push_str(piece),
                UrlSegment::Hub => text.extend(utf8_percent_encode(hub, UNRESERVED)),
                UrlSegment::Category => text.push_str(category.as_str()),
                UrlSegment::Event => text.extend(utf8_percent_encode(event, UNRESERVED)),
            }
        }
        text
    }
}

impl fmt::Debug for Template {
    /// Without the query of its URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.shown).finish()
    }
}

impl Pattern {
    fn compile(text: &str, name: &'static str) -> Result<Self, TemplateProblem> {
        let values: Vec<Box<str>> = text.split(',').map(|value| value.trim().into()).collect();
        if values.iter().any(|value| value.is_empty()) {
            return Err(TemplateProblem::EmptyPattern(name));
        }
        let any = values.iter().any(|value| value.as_ref() == "*");
        Ok(if any { Self::Any } else { Self::OneOf(values) })
    }

    fn values(&self) -> &[Box<str>] {
        match self {
            Self::Any => &[],
            Self::OneOf(values) => values,
        }
    }

    fn matches(&self, value: &str) -> bool {
        matches!(self, Self::Any) || self.values().iter().any(|one| one.as_ref() == value)
    }
}

/// Splits a template at its parameters.
fn pieces(template: &str) -> Result<Vec<UrlSegment>, TemplateProblem> {
    if template.is_empty() {
        return Err(TemplateProblem::NoUrl);
    }
    if template.contains("{@") {
        return Err(TemplateProblem::KeyVault);
    }
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or(TemplateProblem::OpenBrace)?;
        pieces.push(UrlSegment::Text(text.into()));
        pieces.push(match name {
            "hub" => UrlSegment::Hub,
            "category" => UrlSegment::Category,
            "event" => UrlSegment::Event,
            other => return Err(TemplateProblem::UnknownParameter(other.to_owned())),
        });
        rest = behind;
    }
    pieces.push(UrlSegment::Text(rest.into()));
    Ok(pieces)
}

#[cfg(test)]
mod tests;
