//! The tables of codes in `docs/errors` come from the services: `UPDATE_EXPECT=1 cargo test -p chappe error_pages` writes them.
//!
//! A table follows a line `<!-- table: NAME -->`; the rest of a page is written by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use http_messages::{ADMIN_NO_SUCH_PATH, ErrorDescription, error_table_markdown};

/// A table: its name in the marker lines, and its errors.
type Table = (&'static str, Vec<&'static ErrorDescription>);

/// All tables.
fn tables() -> Vec<Table> {
    let admin = crate::admin::error_table::ERRORS.iter().chain(realtime::ADMIN_ERRORS);
    let admin = admin.chain(functions::ADMIN_ERRORS).copied();
    let mut tables: Vec<Table> = vec![
        ("admin", admin.chain([&ADMIN_NO_SUCH_PATH]).collect()),
        ("documents", documents::ERRORS.to_vec()),
        ("edge-responses", edge::RESPONSE_ERRORS.to_vec()),
        ("edge-connections", edge::CONNECTION_ERRORS.to_vec()),
        ("edge-ports", edge::BIND_ERRORS.to_vec()),
        ("edge-certificates", edge::CERTIFICATE_ERRORS.to_vec()),
        ("egress", egress::ERRORS.to_vec()),
        ("bindings", functions_contract::ERRORS.to_vec()),
        ("bindings-cosmosdb", connect_cosmosdb::ERRORS.to_vec()),
        ("bindings-redis", connect_redis::ERRORS.to_vec()),
        ("bindings-signalr", connect_signalr::ERRORS.to_vec()),
        ("gateway", gateway::ERRORS.to_vec()),
        ("configuration", crate::error_table::configuration::CONFIGURATION.to_vec()),
        ("commands", crate::error_table::configuration::COMMANDS.to_vec()),
        ("data", crate::error_table::data::DATA.to_vec()),
        ("ports", crate::error_table::process::PORTS.to_vec()),
        ("process", crate::error_table::process::PROCESS.to_vec()),
        ("guard", crate::guard::error_table::ERRORS.to_vec()),
    ];
    tables.extend(functions::ERRORS.iter().map(|(section, errors)| (*section, errors.to_vec())));
    tables.extend(realtime::ERRORS.iter().map(|(section, errors)| (*section, errors.to_vec())));
    tables
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}

/// The page with the tables that its marker lines name, and the names of those tables.
fn render<'a>(page: &'a str, tables: &[Table]) -> (String, Vec<&'a str>) {
    let mut rendered = String::new();
    let mut named = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        rendered += line;
        rendered.push('\n');
        let Some(name) = line.strip_prefix("<!-- table: ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        let table = tables.iter().find(|(known, _)| *known == name);
        let (_, errors) =
            table.unwrap_or_else(|| panic!("a page has the table {name:?}, which no service has"));
        named.push(name);
        rendered.push('\n');
        rendered += &error_table_markdown(errors);
        while lines.next_if(|line| line.is_empty() || line.starts_with('|')).is_some() {}
        if lines.peek().is_some() {
            rendered.push('\n');
        }
    }
    (rendered, named)
}

#[test]
fn every_error_page_has_the_tables_of_the_services() {
    let tables = tables();
    let mut named: BTreeMap<&str, usize> = tables.iter().map(|(name, _)| (*name, 0)).collect();
    for entry in fs::read_dir(folder()).expect("the folder of error pages") {
        let path = entry.expect("an entry").path();
        let page = fs::read_to_string(&path).expect("a page");
        let (rendered, names) = render(&page, &tables);
        for name in names {
            *named.get_mut(name).expect("render knows all names") += 1;
        }
        if rendered == page {
            continue;
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, rendered).expect("the page can be written");
        } else {
            panic!(
                "{} differs from the errors in the source; run: UPDATE_EXPECT=1 cargo test -p chappe error_pages",
                path.display()
            );
        }
    }
    assert!(named.values().all(|times| *times == 1), "each table stands on one page: {named:?}");
}

#[test]
fn every_code_has_one_description_and_no_text_that_breaks_the_table() {
    for (name, errors) in tables() {
        for (index, error) in errors.iter().enumerate() {
            assert!(
                !errors[..index].iter().any(|other| other.code == error.code),
                "{name}: {} twice",
                error.code
            );
            for text in [error.code, error.happened, error.why, error.action] {
                assert!(
                    !text.is_empty() && !text.contains(['|', '\n']),
                    "{name}: {text:?} in {}",
                    error.code
                );
            }
        }
    }
}
