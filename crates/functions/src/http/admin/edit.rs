//! Writing and deleting the folder of a function: `PUT` and `DELETE /admin/functions/{name}`, for apps with a folder and a `function.json`
//! for each function.

use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value as Json};

use functions_contract::find_property;

const FUNCTION_JSON: &str = "function.json";

/// The new content of a function's folder, as a request describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FunctionEdit {
    /// The files, by name; they replace all that the folder has. `None`: the files stay.
    files: Option<Vec<(PathBuf, String)>>,
    /// The text of `function.json`; `None`: it stays.
    config: Option<String>,
}

impl FunctionEdit {
    /// Reads a request: `files` has texts by name, `config` is the content of `function.json`, which a file of that name replaces. Other
    /// properties are those of a response and have no effect, as in the Azure Functions host.
    ///
    /// # Errors
    ///
    /// What is wrong with the request.
    pub(super) fn parse(body: &Map<String, Json>) -> Result<Self, String> {
        let mut edit = Self::default();
        match find_property(body, "config") {
            None | Some(Json::Null) => {}
            Some(config @ Json::Object(_)) => {
                edit.config = Some(serde_json::to_string_pretty(config).unwrap_or_default());
            }
            Some(_) => return Err("\"config\" must be an object: the content of function.json".to_owned()),
        }
        let named = match find_property(body, "files") {
            None | Some(Json::Null) => return Ok(edit),
            Some(Json::Object(files)) => files,
            Some(_) => {
                return Err("\"files\" must be an object with the text of each file by its name".to_owned());
            }
        };
        let mut files = Vec::new();
        for (name, text) in named {
            let Json::String(text) = text else { return Err(format!("the file \"{name}\" must be a text")) };
            if name.eq_ignore_ascii_case(FUNCTION_JSON) {
                edit.config = Some(text.clone());
                continue;
            }
            let path = PathBuf::from(name);
            let mut components = path.components();
            // One name: neither a path nor `..`, which would lead out of the folder.
            if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) {
                return Err(format!("\"{name}\" is not the name of a file in the function's folder"));
            }
            files.push((path, text.clone()));
        }
        edit.files = Some(files);
        Ok(edit)
    }

    /// Whether it writes nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Writes the folder of the function.
    pub(super) fn write(&self, app: &Path, function: &str) -> io::Result<()> {
        let folder = app.join(function);
        let config = folder.join(FUNCTION_JSON);
        std::fs::create_dir_all(&folder)?;
        if let Some(files) = &self.files {
            let known = std::fs::read(&config).ok();
            remove_content(&folder)?;
            for (name, text) in files {
                std::fs::write(folder.join(name), text)?;
            }
            // What the request does not name stays.
            if let (None, Some(known)) = (&self.config, known) {
                std::fs::write(&config, known)?;
            }
        }
        match &self.config {
            Some(text) => std::fs::write(config, text),
            None => Ok(()),
        }
    }
}

/// Deletes the folder of a function. A folder without `function.json` is not the folder of a function, though it may have the same name.
pub(super) fn delete(app: &Path, function: &str) -> io::Result<()> {
    let folder = app.join(function);
    if folder.join(FUNCTION_JSON).is_file() { std::fs::remove_dir_all(folder) } else { Ok(()) }
}

fn remove_content(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &Json) -> Result<FunctionEdit, String> {
        FunctionEdit::parse(body.as_object().expect("an object"))
    }

    fn content(app: &Path) -> Vec<(String, String)> {
        let Ok(entries) = std::fs::read_dir(app.join("f")) else { return Vec::new() };
        let mut found: Vec<_> = entries
            .map(|entry| {
                let entry = entry.expect("readable");
                let text = std::fs::read_to_string(entry.path()).expect("text");
                (entry.file_name().to_string_lossy().into_owned(), text)
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn files_replace_those_of_the_folder_and_config_becomes_function_json() {
        let app = tempfile::tempdir().expect("a folder");
        let write = |body: Json| {
            let edit = parse(&body).expect("a valid request");
            edit.write(app.path(), "f").expect("writable");
            content(app.path())
        };
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let config = json!({ "bindings": [] });
        let text = "{\n  \"bindings\": []\n}";
        let first = write(json!({ "config": config, "files": { "a.js": "1", "b.js": "2" } }));
        assert_eq!(first, [pair("a.js", "1"), pair("b.js", "2"), pair("function.json", text)]);
        assert_eq!(
            write(json!({ "files": { "a.js": "3" } })),
            [pair("a.js", "3"), pair("function.json", text)]
        );
        let named = write(json!({ "config": config, "files": { "function.json": "{}" } }));
        assert_eq!(named, [pair("function.json", "{}")]);
        assert!(parse(&json!({ "name": "f" })).expect("valid").is_empty());
        delete(app.path(), "f").expect("deletable");
        assert!(!app.path().join("f").exists());
        std::fs::create_dir(app.path().join("src")).expect("writable");
        delete(app.path(), "src").expect("nothing to do");
        assert!(app.path().join("src").exists(), "it is not the folder of a function");
    }

    #[test]
    fn a_request_that_leads_out_of_the_folder_or_has_another_form_is_refused() {
        for (body, why) in [
            (json!({ "config": [] }), "\"config\" must be an object"),
            (json!({ "files": "a" }), "\"files\" must be an object"),
            (json!({ "files": { "a.js": 1 } }), "the file \"a.js\" must be a text"),
            (json!({ "files": { "../a.js": "" } }), "\"../a.js\" is not the name of a file"),
            (json!({ "files": { "/a.js": "" } }), "\"/a.js\" is not the name of a file"),
            (json!({ "files": { "b/a.js": "" } }), "\"b/a.js\" is not the name of a file"),
            (json!({ "files": { "..": "" } }), "\"..\" is not the name of a file"),
        ] {
            let error = parse(&body).expect_err("refused");
            assert!(error.starts_with(why), "{error}");
        }
    }
}
