//! The pages under `docs/errors` (invariant 9). The tables of codes are rendered from the `error_table.rs` of the services, and a test of
//! `chappe` compares them. This file checks the rest: every description is used, no row has an empty cell, and the index names every page.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub(super) fn check(root: &Path, files: &[PathBuf], complaints: &mut Vec<String>) -> anyhow::Result<()> {
    check_pages(&root.join("docs/errors"), complaints)?;
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        sources.push((name, fs::read_to_string(file)?));
    }
    let (tables, others): (Vec<_>, Vec<_>) =
        sources.iter().partition(|(name, _)| name.contains("error_table"));
    for (table, text) in tables {
        // The descriptions are private to their crate.
        let krate = table.split("/src/").next().unwrap_or(table);
        let uses: Vec<&str> = others
            .iter()
            .filter(|(name, _)| name.starts_with(krate) && !is_test(name))
            .map(|(_, text)| text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text))
            .collect();
        for name in unused(text, &uses) {
            complaints.push(format!("invariant 9: {table} describes {name}, which nothing raises"));
        }
    }
    Ok(())
}

fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// The descriptions of a table that no other source file names.
fn unused<'a>(table: &'a str, uses: &[&str]) -> Vec<&'a str> {
    let names = table.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" = {"));
    names
        .filter(|name| {
            let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
            !uses.iter().any(|text| text.split(|character| !is_name(character)).any(|word| word == *name))
        })
        .collect()
}

/// Rows with an empty cell, and pages that the index does not name.
fn check_pages(folder: &Path, complaints: &mut Vec<String>) -> anyhow::Result<()> {
    let index = folder.join("README.md");
    let index = fs::read_to_string(&index).with_context(|| format!("read {}", index.display()))?;
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        for row in rows_with_an_empty_cell(&text) {
            complaints.push(format!("docs/errors/{name}: an empty cell in {row}"));
        }
        if name != "README.md" && !index.contains(&format!("({name})")) {
            complaints.push(format!("docs/errors/README.md does not name {name}"));
        }
    }
    Ok(())
}

fn rows_with_an_empty_cell(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.starts_with("| "))
        .filter(|row| row.trim().trim_matches('|').split('|').any(|cell| cell.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_that_no_source_names_is_reported() {
        let table = "error_table! {\n    FULL = {\n        code: \"full\",\n    }\n\n    LOST = {\n    }\n}";
        assert_eq!(unused(table, &["raise(&error_table::FULL)", "LOST_AND_FOUND"]), ["LOST"]);
    }

    #[test]
    fn a_row_with_an_empty_cell_is_reported() {
        let page = "| code | why |\n|---|---|\n| `Kept` | a |\n| `Stale` | |\n";
        assert_eq!(rows_with_an_empty_cell(page).collect::<Vec<_>>(), ["| `Stale` | |"]);
    }
}
