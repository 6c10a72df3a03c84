//! Loads the templates from the options. Every error in them is reported here, before a port opens.

use std::io;
use std::path::PathBuf;

use super::file::{self, ParseFileError};
use super::identity::{self, IdentityError};
use super::options::Options;
use super::template::{TemplateError, UpstreamTemplates};

/// Why the configured upstreams cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file with templates cannot be read.
    #[error("cannot read the upstream templates in {}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// The file with templates cannot be parsed.
    #[error("cannot parse the upstream templates in {}", path.display())]
    Parse {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with its content.
        #[source]
        cause: ParseFileError,
    },
    /// A template is invalid.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The identity endpoint is invalid.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Loads the templates of the configuration, then those of its file.
pub(crate) fn load(options: &Options) -> Result<UpstreamTemplates, LoadError> {
    let has_identity = identity::is_configured(options)?;
    let mut of_file = Vec::new();
    if let Some(path) = &options.templates_file {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|cause| LoadError::Read { path: path.clone(), cause })?;
        let parsed = file::parse(&text).map_err(|cause| LoadError::Parse { path: path.clone(), cause })?;
        for ignored in parsed.ignored {
            tracing::warn!(file = %path.display(), "{ignored}: this property of an upstream template is not supported and has no effect");
        }
        of_file = parsed.templates;
    }
    Ok(UpstreamTemplates::compile(options.templates.iter().chain(&of_file), has_identity)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::TemplateOptions;
    use crate::upstream::template::Category;
    use http_messages::ErrorChain;

    #[test]
    fn templates_of_the_file_follow_those_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        let text = r#"{"UpstreamSettings":{"Templates":[{"UrlTemplate":"http://file/"}]}}"#;
        std::fs::write(&path, text).unwrap();
        let own = TemplateOptions {
            url_template: "http://own/".to_owned(),
            hub_pattern: "chat".to_owned(),
            ..TemplateOptions::default()
        };
        let options = Options { templates: vec![own], templates_file: Some(path), ..Options::default() };
        let templates = load(&options).unwrap();
        let found =
            |hub| templates.find(hub, Category::Messages, "x").map(|template| template.shown.to_string());
        assert_eq!(found("chat").as_deref(), Some("http://own/"));
        assert_eq!(found("other").as_deref(), Some("http://file/"));
    }

    #[test]
    fn a_missing_or_empty_templates_file_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        let options = Options { templates_file: Some(path.clone()), ..Options::default() };
        let shown = |options| ErrorChain(&load(options).unwrap_err()).to_string();
        let missing = format!("cannot read the upstream templates in {}: ", path.display());
        assert!(shown(&options).starts_with(&missing), "{}", shown(&options));
        std::fs::write(&path, "{}").unwrap();
        let empty = format!("cannot parse the upstream templates in {}: it has no templates", path.display());
        assert!(shown(&options).starts_with(&empty), "{}", shown(&options));
        std::fs::write(&path, r#"{"templates":[{"urlTemplate":"nowhere"}]}"#).unwrap();
        assert_eq!(
            shown(&options),
            "upstream template 1: `nowhere` is not an absolute http or https address"
        );
    }
}
