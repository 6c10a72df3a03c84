//! The language of an app, and whether its folder contains the app or only its source.

use std::path::{Path, PathBuf};

use super::error::LoadAppError;
use super::read::{parse_object, read_optional};
use super::settings::MergedSettings;

/// Files that determine the language, in the order of the search.
const LANGUAGE_FILES: [(&str, &str); 4] = [
    ("function_app.py", "python"),
    ("requirements.txt", "python"),
    ("package.json", "node"),
    ("pom.xml", "java"),
];

/// The language: from the settings, else from the app's own `worker.config.json` (a C# publish folder has it instead of settings),
/// else from the files of the language's tools.
///
/// # Errors
///
/// If the language cannot be determined, or if the folder contains a project that must be built first.
pub(super) fn find(
    dir: &Path,
    settings: &MergedSettings,
    has_custom_handler: bool,
) -> Result<String, LoadAppError> {
    let own_worker = own_worker(dir)?;
    let named = settings.get("FUNCTIONS_WORKER_RUNTIME").map(|language| language.trim().to_ascii_lowercase());
    if own_worker.is_none()
        && let Some((project, advice)) = source(dir, named.as_deref())
    {
        return Err(LoadAppError::NotBuilt { dir: dir.to_owned(), project, advice });
    }
    let by_files =
        || LANGUAGE_FILES.iter().find(|(file, _)| dir.join(file).is_file()).map(|(_, language)| *language);
    let found = named.or(own_worker).or_else(|| by_files().map(str::to_owned));
    let custom = || has_custom_handler.then(|| "custom".to_owned());
    found.or_else(custom).ok_or_else(|| LoadAppError::NoLanguage { dir: dir.to_owned() })
}

/// The language of the worker that the app contains.
fn own_worker(dir: &Path) -> Result<Option<String>, LoadAppError> {
    let path = dir.join("worker.config.json");
    let Some(text) = read_optional(&path)? else { return Ok(None) };
    let malformed = |problem: String| LoadAppError::Malformed { path: path.clone(), problem };
    let config = parse_object(&text).map_err(malformed)?;
    let language = config.get("description").and_then(|description| description.get("language"));
    let language = language.and_then(serde_json::Value::as_str).unwrap_or_default().trim();
    if language.is_empty() {
        let problem =
            "description.language is missing; set it to the language of the app, such as dotnet-isolated";
        return Err(malformed(problem.to_owned()));
    }
    Ok(Some(language.to_ascii_lowercase()))
}

/// A project whose build output is the app, and what to do; only of the named language, if one is named.
fn source(dir: &Path, named: Option<&str>) -> Option<(String, String)> {
    let may_be = |language: &str| named.is_none_or(|named| named.starts_with(language));
    let names = std::fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    // The vendor's tools create extensions.csproj in apps of every language.
    let is_dotnet = |name: &&String| {
        let lower = name.to_lowercase();
        [".csproj", ".fsproj"].iter().any(|end| lower.ends_with(end)) && lower != "extensions.csproj"
    };
    if may_be("dotnet")
        && let Some(project) = names.iter().find(is_dotnet)
    {
        let build = format!("run `dotnet build {project}` there");
        return Some((
            project.clone(),
            advise(&build, built(&dir.join("bin"), "worker.config.json"), "bin/Debug/<framework>"),
        ));
    }
    let has_functions = || names.iter().any(|name| dir.join(name).join("function.json").is_file());
    if may_be("java") && names.iter().any(|name| name == "pom.xml") && !has_functions() {
        let built = built(&dir.join("target"), "host.json");
        let advice = advise("run `mvn package` there", built, "target/azure-functions/<name>");
        return Some(("pom.xml".to_owned(), advice));
    }
    None
}

fn advise(build: &str, built: Option<PathBuf>, usual: &str) -> String {
    match built {
        Some(folder) => format!("{build}, and start its output: chappe start '{}'", folder.display()),
        None => format!("{build}, and start its output, usually: chappe start {usual}"),
    }
}

/// The newest folder two levels below that contains this file.
fn built(below: &Path, file: &str) -> Option<PathBuf> {
    let folders = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
    };
    let inner = folders(below).into_iter().flat_map(|folder| folders(&folder));
    let outputs = inner.filter(|folder| folder.join(file).is_file());
    outputs.max_by_key(|folder| folder.join(file).metadata().and_then(|metadata| metadata.modified()).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::App;

    /// The language of an app with these files, or the error.
    fn language(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in [&[("host.json", r#"{"version":"2.0"}"#)], files].concat() {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            std::fs::write(path, text).expect("writable");
        }
        let text = match App::load(dir.path(), &BTreeMap::new()) {
            Ok(app) => app.language,
            Err(error) => http_messages::error_chain(&error),
        };
        text.replace(&dir.path().display().to_string(), "DIR")
    }

    #[test]
    fn the_language_comes_from_settings_then_from_the_apps_own_worker_then_from_its_files() {
        let named = ("local.settings.json", r#"{"Values":{"FUNCTIONS_WORKER_RUNTIME":"Java"}}"#);
        let own = ("worker.config.json", r#"{"description":{"language":"dotnet-isolated"}}"#);
        assert_eq!(language(&[named, own]), "java");
        assert_eq!(language(&[own, ("package.json", "{}")]), "dotnet-isolated");
        assert_eq!(language(&[("function_app.py", ""), ("package.json", "{}")]), "python");
        assert_eq!(language(&[("requirements.txt", "")]), "python");
        assert_eq!(language(&[("package.json", "{}")]), "node");
        assert_eq!(language(&[("pom.xml", ""), ("hello/function.json", "{}")]), "java");
        let handler = r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"x"}}}"#;
        assert_eq!(language(&[("host.json", handler)]), "custom");
        assert!(language(&[]).starts_with("cannot determine the language of the app in DIR"));
        let broken = language(&[("worker.config.json", "{}")]);
        assert!(broken.starts_with("DIR/worker.config.json: description.language is missing"), "{broken}");
    }

    #[test]
    fn a_folder_of_source_is_an_error_that_says_how_to_build_and_start_the_app() {
        let named = ("local.settings.json", r#"{"Values":{"FUNCTIONS_WORKER_RUNTIME":"dotnet-isolated"}}"#);
        assert_eq!(
            language(&[("My.csproj", ""), named]),
            "DIR contains the source of an app (My.csproj), not its build output: run `dotnet build My.csproj` there, and start its output, \
             usually: chappe start bin/Debug/<framework>"
        );
        let built = ("bin/Release/net8.0/worker.config.json", "{}");
        let advice = language(&[("My.fsproj", ""), built]);
        assert!(advice.ends_with("and start its output: chappe start 'DIR/bin/Release/net8.0'"), "{advice}");
        let node = ("local.settings.json", r#"{"Values":{"FUNCTIONS_WORKER_RUNTIME":"node"}}"#);
        assert_eq!(language(&[("My.csproj", ""), ("pom.xml", ""), node]), "node");
        assert_eq!(language(&[("extensions.csproj", ""), ("package.json", "{}")]), "node");
        let maven = language(&[("pom.xml", "")]);
        assert!(maven.ends_with("usually: chappe start target/azure-functions/<name>"), "{maven}");
    }
}
