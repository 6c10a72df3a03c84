//! The pages under `docs/errors` (invariant 9): every code of ours has a page, every code of a foreign dialect has a row in the
//! table of its area, and neither outlives its code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A page with one row a code, and where the codes stand.
struct Table {
    /// The page's name, without `.md`.
    page: &'static str,
    /// A folder or a file; what follows `#[cfg(test)]` does not count.
    sources: &'static str,
    /// What stands before a code. One that ends in a quotation mark is followed by it at once; after any other, it is the
    /// first literal of the same statement.
    markers: &'static [&'static str],
}

const TABLES: [Table; 2] = [
    Table {
        page: "realtime",
        sources: "crates/realtime/src",
        markers: &[
            "Rejection::new(",
            "Self::new(",
            "bad_request(",
            "unauthorized(",
            "absent(",
            ": &str = \"",
        ],
    },
    Table { page: "egress", sources: "crates/egress/src/error.rs", markers: &["=> \""] },
];

/// Pages of an area whose errors have no code in the source: the protocol's status, or the text itself, is the name.
const AREAS_WITHOUT_CODES: [&str; 4] = ["documents", "edge", "functions", "start"];

/// Areas whose codes have a page each, and where their codes stand: as `"area-what-happened"`.
const AREAS_WITH_PAGES: [(&str, &str); 5] = [
    ("gateway", "crates/gateway/src"),
    ("admin", "crates/chappe/src/admin"),
    ("admin", "crates/realtime/src/admin"),
    ("admin", "crates/functions/src/admin"),
    ("guard", "crates/chappe/src/guard"),
];

pub(super) fn check(root: &Path, files: &[PathBuf], complaints: &mut Vec<String>) -> anyhow::Result<()> {
    let folder = root.join("docs/errors");
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        sources.push((name, fs::read_to_string(file)?));
    }
    for table in &TABLES {
        let path = folder.join(table.page).with_extension("md");
        let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let texts = product(&sources, table.sources);
        let codes = texts.flat_map(|text| codes_behind(text, table.markers)).collect();
        compare(table.page, &page, &codes, complaints);
    }
    for page in TABLES.iter().map(|table| table.page).chain(AREAS_WITHOUT_CODES) {
        let path = folder.join(page).with_extension("md");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        check_cells(page, &text, complaints);
    }
    check_pages(&folder, &sources, complaints)
}

/// The texts of the files below a place, without their tests.
fn product<'a>(sources: &'a [(String, String)], place: &'a str) -> impl Iterator<Item = &'a str> {
    let tests = |name: &str| name.ends_with("/tests.rs") || name.contains("/tests/");
    sources
        .iter()
        .filter(move |(name, _)| name.starts_with(place) && !tests(name))
        .map(|(_, text)| text.split("#[cfg(test)]").next().unwrap_or_default())
}

/// Rows that leave something open.
fn check_cells(page: &str, text: &str, complaints: &mut Vec<String>) {
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        if row.trim().trim_matches('|').split('|').any(|cell| cell.trim().is_empty()) {
            complaints.push(format!("docs/errors/{page}.md: an empty cell in {row}"));
        }
    }
}

/// Codes without a row, and rows without a code.
fn compare(page: &str, text: &str, codes: &BTreeSet<String>, complaints: &mut Vec<String>) {
    let mut rows = BTreeSet::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
        rows.extend(row.split('`').next().map(str::to_owned));
    }
    for code in codes.difference(&rows) {
        complaints.push(format!("invariant 9: the code {code:?} has no row in docs/errors/{page}.md"));
    }
    for row in rows.difference(codes) {
        complaints.push(format!("docs/errors/{page}.md: no source gives the code {row}"));
    }
}

/// The codes in one source file: literals of letters, dots and underscores behind one of the markers.
fn codes_behind(text: &str, markers: &[&str]) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for marker in markers {
        for (at, _) in text.match_indices(marker) {
            let mut rest = &text[at + marker.len()..];
            if !marker.ends_with('"') {
                // Beyond the statement it is somebody else's literal.
                let Some(next) = rest.find(['"', ';', '{', '}']) else { continue };
                let Some(literal) = rest[next..].strip_prefix('"') else { continue };
                rest = literal;
            }
            let literal = rest.split('"').next().unwrap_or_default();
            let is_code = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'_');
            // The SDKs' types of claims look like codes.
            let is_claim = literal.starts_with("asrs.");
            if !literal.is_empty() && literal.bytes().all(is_code) && !is_claim {
                codes.insert(literal.to_owned());
            }
        }
    }
    codes
}

/// Codes of ours without a page, and pages without a code.
fn check_pages(
    folder: &Path,
    sources: &[(String, String)],
    complaints: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        pages.extend(name.strip_suffix(".md").map(str::to_owned));
    }
    let of_area = |page: &str| {
        page == "README"
            || AREAS_WITHOUT_CODES.contains(&page)
            || TABLES.iter().any(|table| table.page == page)
    };
    let named = |code: &str| sources.iter().any(|(_, text)| text.contains(&format!("\"{code}\"")));
    for page in pages.iter().filter(|page| !of_area(page) && !named(page)) {
        complaints.push(format!("docs/errors/{page}.md: no source names this code"));
    }
    for (area, place) in AREAS_WITH_PAGES {
        let codes: BTreeSet<String> =
            product(sources, place).flat_map(|text| codes_of_area(text, area)).collect();
        for code in codes.difference(&pages) {
            complaints.push(format!("invariant 9: the code {code:?} has no page docs/errors/{code}.md"));
        }
    }
    Ok(())
}

/// Literals such as `"gateway-no-route"`.
fn codes_of_area(text: &str, area: &str) -> BTreeSet<String> {
    let start = format!("\"{area}-");
    let literals = text.match_indices(&start).filter_map(|(at, _)| text[at + 1..].split('"').next());
    literals
        .filter(|literal| literal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKERS: &[&str] = &["Rejection::new(", "bad_request(", ": &str = \"", "=> \""];

    fn codes(text: &str) -> Vec<String> {
        codes_behind(text, MARKERS).into_iter().collect()
    }

    #[test]
    fn a_code_is_the_first_literal_of_its_call() {
        assert_eq!(codes("Rejection::new(StatusCode::CONFLICT, \"InUse\", message)"), ["InUse"]);
        assert_eq!(codes("bad_request(\n    \"MissingId\",\n    \"an id is needed\",\n)"), ["MissingId"]);
        assert_eq!(codes("const ABSENT: &str = \"Warning.User.NotExisted\";"), ["Warning.User.NotExisted"]);
        assert_eq!(codes("Self::TooLarge { .. } => \"body_too_large\","), ["body_too_large"]);
    }

    #[test]
    fn what_is_passed_on_or_is_prose_is_no_code() {
        assert_eq!(
            codes("Self { ..Rejection::new(status, code, message) }\nlet other = \"Other\";"),
            [""; 0]
        );
        assert_eq!(codes("Rejection::new(status, code, text);\nlet other = \"Other\";"), [""; 0]);
        assert_eq!(codes("let words: &str = \"two words\";"), [""; 0]);
        assert_eq!(codes("const USER_ID: &str = \"asrs.s.uid\";"), [""; 0]);
    }

    #[test]
    fn rows_and_codes_belong_together() {
        let page =
            "| code | what | why | do |\n|---|---|---|---|\n| `Kept` | a | b | c |\n| `Stale` | a | | c |\n";
        let mut complaints = Vec::new();
        let codes = ["Kept", "New"].map(str::to_owned).into();
        compare("area", page, &codes, &mut complaints);
        let expected = [
            "invariant 9: the code \"New\" has no row in docs/errors/area.md",
            "docs/errors/area.md: no source gives the code Stale",
        ];
        assert_eq!(complaints, expected);
    }

    #[test]
    fn codes_of_an_area_are_whole_literals() {
        let codes = codes_of_area("(\"admin-no-page\", \"admin-{}\", \"other-code\")", "admin");
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["admin-no-page"]);
    }
}
