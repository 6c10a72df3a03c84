//! `*/function.json`: the declarations of apps of older programming models. Read only if the worker leaves indexing to the
//! host.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};
use worker_protocol::{FunctionId, FunctionMetadata};

use super::read::{parse_object, read_optional};
use crate::error_table::declaration;
use crate::function_error::FunctionError;
use crate::retry::{RetryPolicy, RetrySection};
use functions_contract::find_property;

/// Reads the functions of a folder. A file that cannot be read becomes an error; the other functions are returned.
pub(crate) fn index_folder(
    dir: &Path,
    language: &str,
) -> (Vec<FunctionMetadata>, Vec<(String, FunctionError)>) {
    let (mut functions, mut errors) = (Vec::new(), Vec::new());
    let Ok(entries) = std::fs::read_dir(dir) else { return (functions, errors) };
    let mut folders: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_dir()).collect();
    folders.sort();
    for folder in folders {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match read_optional(&folder.join("function.json")) {
            Ok(None) => {}
            Ok(Some(text)) => {
                match parse_object(&text).and_then(|json| describe(&folder, &name, language, &json)) {
                    Ok(function) => functions.push(function),
                    Err(problem) => {
                        let text = format!("function.json: {problem}");
                        errors.push((name, FunctionError::new(&declaration::INVALID_FUNCTION_JSON, text)));
                    }
                }
            }
            Err(error) => errors.push((name, FunctionError::new(error.description(), error.to_string()))),
        }
    }
    (functions, errors)
}

fn describe(
    folder: &Path,
    name: &str,
    language: &str,
    json: &Map<String, Json>,
) -> Result<FunctionMetadata, String> {
    let bindings = match find_property(json, "bindings") {
        Some(Json::Array(bindings)) if !bindings.is_empty() => bindings,
        _ => return Err("\"bindings\" is missing or empty; a function has at least a trigger".to_owned()),
    };
    let text = |key: &str| find_property(json, key).and_then(Json::as_str).filter(|text| !text.is_empty());
    let script_file = match text("scriptFile") {
        Some(file) => folder.join(file),
        None => folder.join(default_script(folder).ok_or_else(|| {
            "no scriptFile, and the folder does not contain exactly one script, run.* or index.js; add \"scriptFile\"".to_owned()
        })?),
    };
    let retry = match find_property(json, "retry").and_then(Json::as_object) {
        Some(retry) => Some(RetryPolicy::parse(&RetrySection(retry.clone()))?.to_protocol()),
        None => None,
    };
    let mut properties = BTreeMap::new();
    if let Some(disabled) = find_property(json, "disabled") {
        let disabled = disabled.as_str().map_or_else(|| disabled.to_string(), str::to_owned);
        properties.insert("disabled".to_owned(), disabled);
    }
    Ok(FunctionMetadata {
        name: name.to_owned(),
        function_id: FunctionId::new(uuid::Uuid::new_v4().to_string()),
        directory: folder.to_string_lossy().into_owned(),
        script_file: script_file.to_string_lossy().into_owned(),
        entry_point: text("entryPoint").unwrap_or_default().to_owned(),
        language: language.to_owned(),
        raw_bindings: bindings.iter().map(Json::to_string).collect(),
        retry_options: retry,
        properties,
        status: None,
    })
}

/// The script of a function without `scriptFile`: the only file that is not JSON, else `run.*`, else `index.js`/`.mjs`/`.cjs`, else
/// `__init__.py`.
fn default_script(folder: &Path) -> Option<String> {
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_file()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.to_ascii_lowercase().ends_with(".json"))
        .collect();
    files.sort();
    if let [only] = files.as_slice() {
        return Some(only.clone());
    }
    let named = |wanted: &str| files.iter().find(|name| name.eq_ignore_ascii_case(wanted)).cloned();
    let run = files.iter().find(|name| name.to_ascii_lowercase().starts_with("run.")).cloned();
    run.or_else(|| ["index.js", "index.mjs", "index.cjs", "__init__.py"].iter().find_map(|name| named(name)))
}
