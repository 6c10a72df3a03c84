//! Finds the packages that a Node.js app requires and that are not installed.

use std::path::Path;

use serde_json::Value as Json;

use super::read::parse_object;
use functions_contract::find_property;

/// The `dependencies` in `package.json` of the app in `dir` that no `node_modules` at or above it has, in the file's order. Empty
/// if there is no such file, or if it cannot be read: the worker reports that when it loads the app.
pub fn missing_packages(dir: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(dir.join("package.json")) else { return Vec::new() };
    let Ok(package) = parse_object(&text) else { return Vec::new() };
    let Some(Json::Object(dependencies)) = find_property(&package, "dependencies") else { return Vec::new() };
    let is_missing = |name: &&String| {
        // Node.js searches in the same order: in the folder, then in each one above it.
        !dir.ancestors()
            .any(|folder| folder.join("node_modules").join(name.as_str()).join("package.json").is_file())
    };
    dependencies.keys().filter(is_missing).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_in_the_folder_of_the_app_and_above() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let app = root.path().join("apps/one");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
            std::fs::write(path, text).expect("a file is written");
        };
        put("apps/one/host.json", "{}");
        assert!(missing_packages(&app).is_empty(), "no package.json");
        put(
            "apps/one/package.json",
            r#"{"dependencies": {"here": "1", "@scope/above": "1", "nowhere": "1", "@scope/gone": "1"}}"#,
        );
        put("apps/one/node_modules/here/package.json", "{}");
        put("node_modules/@scope/above/package.json", "{}");
        assert_eq!(missing_packages(&app), ["nowhere", "@scope/gone"]);
    }
}
