//! From options to rules: everything that can be wrong with them is found here, before a port opens.

use std::io;
use std::path::PathBuf;

use super::file::{self, ParseFileError};
use super::identity::{self, IdentityError};
use super::options::Options;
use super::template::{Rules, TemplateError};

/// Why upstreams cannot be used as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file with templates cannot be read.
    #[error("read the upstream templates in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
    /// The file with templates says nothing that is understood.
    #[error("understand the upstream templates in {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: ParseFileError,
    },
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The identity endpoint cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The rules of the configuration, then those of its file.
pub(crate) fn load(options: &Options) -> Result<Rules, LoadError> {
    let has_identity = identity::is_configured(options)?;
    let mut of_file = Vec::new();
    if let Some(path) = &options.templates_file {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|cause| LoadError::Read { path: path.clone(), cause })?;
        let parsed = file::parse(&text).map_err(|cause| LoadError::Parse { path: path.clone(), cause })?;
        for ignored in parsed.ignored {
            tracing::warn!(file = %path.display(), "{ignored}: this property is not known here, and has no effect");
        }
        of_file = parsed.templates;
    }
    Ok(Rules::compile(options.templates.iter().chain(&of_file), has_identity)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::TemplateOptions;
    use crate::upstream::template::Category;
    use http_messages::ErrorChain;

    #[test]
    fn the_files_templates_come_after_those_of_the_configuration() {
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
        let rules = load(&options).unwrap();
        let found = |hub| rules.find(hub, Category::Messages, "x").map(|template| template.shown.to_string());
        assert_eq!(found("chat").as_deref(), Some("http://own/"));
        assert_eq!(found("other").as_deref(), Some("http://file/"));
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        let options = Options { templates_file: Some(path.clone()), ..Options::default() };
        let shown = |options| ErrorChain(&load(options).unwrap_err()).to_string();
        let missing = format!("read the upstream templates in {}: ", path.display());
        assert!(shown(&options).starts_with(&missing), "{}", shown(&options));
        std::fs::write(&path, "{}").unwrap();
        let empty = format!("understand the upstream templates in {}: it has no templates", path.display());
        assert!(shown(&options).starts_with(&empty), "{}", shown(&options));
        std::fs::write(&path, r#"{"templates":[{"urlTemplate":"nowhere"}]}"#).unwrap();
        assert_eq!(shown(&options), "upstream template 1: `nowhere` is no absolute http or https address");
    }
}
