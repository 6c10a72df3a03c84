//! [`Rules`]: which upstream gets an event, and under which address. Pure.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::options::{Auth, TemplateOptions, without_query};

/// What stays as it is in a parameter of an address: the unreserved characters of RFC 3986 section 2.3, as in
/// `Uri.EscapeDataString`.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Category {
    Connections,
    Messages,
}

/// Templates in order; the first one that matches gets the event.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Template>);

/// One rule, ready for use.
pub(crate) struct Template {
    pieces: Vec<UrlSegment>,
    hub: Pattern,
    category: Pattern,
    event: Pattern,
    /// Whom a token of the managed identity is for, where one is wanted.
    pub(crate) token_for: Option<Arc<str>>,
    /// The address as logs may show it.
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

/// Why a template cannot be used. Nothing is started with it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("upstream template {number}: {flaw}")]
pub struct TemplateError {
    /// Which one, counted from 1; those of a file follow those of the configuration.
    number: usize,
    flaw: TemplateProblem,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum TemplateProblem {
    #[error("it has no url_template; write for example http://localhost:7071/runtime/webhooks/signalr")]
    NoUrl,
    #[error(
        "secrets of Key Vault ({{@Microsoft.KeyVault(...)}}) cannot be read from here; write the value itself, for example into the environment variable CHAPPE_REALTIME__UPSTREAM__TEMPLATES"
    )]
    KeyVault,
    #[error("`{{{0}}}` is no parameter of an address; there are {{hub}}, {{category}} and {{event}}")]
    UnknownParameter(String),
    #[error("a brace in the address is not closed; write %7B for one that is meant")]
    OpenBrace,
    #[error("`{0}` is no absolute http or https address")]
    NotAbsolute(String),
    #[error("an address cannot hold a name and a password; put a key into its query instead")]
    Credentials,
    #[error(
        "{{event}} stands in the host of the address, and clients choose the event; put it into the path"
    )]
    EventInHost,
    #[error("{0} has an empty value; write * for all")]
    EmptyPattern(&'static str),
    #[error("category_pattern has `{0}`, which is no category; there are connections and messages")]
    UnknownCategory(String),
    #[error("a managed identity needs auth_resource: whom its token is for, such as api://my-app")]
    NoResource,
    #[error("auth_resource is given and auth is not managed_identity")]
    UnusedResource,
    #[error(
        "it asks for a managed identity, and nobody gives tokens for one: set identity_endpoint and identity_header, or the variables IDENTITY_ENDPOINT and IDENTITY_HEADER"
    )]
    NoIdentity,
}

/// Why an event has no address although a template matches it. The text reaches the client.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AddressError {
    /// Servers take `..` in a path for the step upwards, escaped or not: a client would choose another path.
    #[error("the upstream's address cannot hold a method of dots only")]
    DotEvent,
    #[error("the upstream's address is too long with this method")]
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

impl Rules {
    /// Checks the templates and makes them ready. `has_identity` says whether there is somebody who gives tokens of a managed
    /// identity.
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

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some template asks for tokens of the managed identity.
    pub(crate) fn need_identity(&self) -> bool {
        self.0.iter().any(|template| template.token_for.is_some())
    }

    /// Whether some template may get events of a hub.
    pub(crate) fn concern(&self, hub: &str) -> bool {
        self.0.iter().any(|template| template.hub.matches(hub))
    }

    /// The template that gets an event of a hub.
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

    /// Whether every address that can come of it is one that can be gone to.
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

    /// Where an event goes.
    pub(crate) fn address(&self, hub: &str, category: Category, event: &str) -> Result<Uri, AddressError> {
        if matches!(event, "." | "..") && self.pieces.contains(&UrlSegment::Event) {
            return Err(AddressError::DotEvent);
        }
        // All that a parameter can add is escaped, so that only the length is left to go wrong.
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
    /// Without the query of its address.
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

/// Cuts a template at its parameters.
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
