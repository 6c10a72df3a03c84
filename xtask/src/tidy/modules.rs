//! The modules of a crate, read with `syn`: which file defines each name, and to which files the paths of a file lead.
//!
//! Tests are left out. A re-export is followed to the definition and is no dependency itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// A path from the crate's root: `["engine", "shard"]`.
type ModulePath = Vec<String>;

/// Where a type can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visible {
    /// From other crates: `pub`.
    Everywhere,
    /// From its crate: `pub(crate)`, `pub(super)` and the like.
    InCrate,
}

/// The modules of one crate.
#[derive(Default)]
pub(super) struct Modules {
    modules: BTreeMap<ModulePath, Module>,
}

/// A module: a file, or an inline module in one.
#[derive(Default)]
struct Module {
    /// Relative to the crate's `src`.
    file: PathBuf,
    /// What `use` imports, by its local name.
    imports: BTreeMap<String, Vec<String>>,
    /// Modules from which everything is imported.
    globs: Vec<Vec<String>>,
    /// Every other path in the module's code.
    paths: BTreeSet<Vec<String>>,
    /// Imports that are not re-exports.
    private_imports: Vec<Vec<String>>,
    /// The types that it declares for use outside of the module.
    types: BTreeMap<String, Visible>,
}

impl Modules {
    /// Reads `root` (`src/lib.rs` or `src/main.rs`) and every module below it.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or parsed, or a declared module has no file.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut modules = Self::default();
        let folder = root.parent().context("a source file lies in a folder")?;
        modules.read_file(folder, root, folder, Vec::new())?;
        Ok(modules)
    }

    fn read_file(
        &mut self,
        source: &Path,
        file: &Path,
        children: &Path,
        path: ModulePath,
    ) -> anyhow::Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("parse {}", file.display()))?;
        let name = file.strip_prefix(source).unwrap_or(file).to_owned();
        self.read_items(source, &name, children, path, &parsed.items)
    }

    fn read_items(
        &mut self,
        source: &Path,
        file: &Path,
        children: &Path,
        path: ModulePath,
        items: &[Item],
    ) -> anyhow::Result<()> {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in items {
            if for_tests(attributes(item)) {
                continue;
            }
            match item {
                Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let folder = children.join(&name);
                    let path: ModulePath = path.iter().cloned().chain([name]).collect();
                    if let Some((_, items)) = &inner.content {
                        self.read_items(source, file, &folder, path, items)?;
                    } else {
                        let file = folder.with_extension("rs");
                        if !file.exists() {
                            bail!(
                                "{} declares a module without the file {}",
                                children.display(),
                                file.display()
                            );
                        }
                        self.read_file(source, &file, &folder, path)?;
                    }
                }
                Item::Use(import) => module.import(import),
                other => module.item(other),
            }
        }
        self.modules.insert(path, module);
        Ok(())
    }

    /// The types that can be named from outside of their modules, with their file.
    pub(super) fn types(&self) -> impl Iterator<Item = (&str, Visible, &Path)> {
        self.modules.values().flat_map(|module| {
            module.types.iter().map(|(name, visible)| (name.as_str(), *visible, module.file.as_path()))
        })
    }

    /// Each file, and the files that its code refers to, with one of the names.
    pub(super) fn dependencies(&self) -> BTreeMap<&Path, BTreeMap<&Path, String>> {
        let mut found: BTreeMap<&Path, BTreeMap<&Path, String>> = BTreeMap::new();
        for (at, module) in &self.modules {
            let edges = found.entry(&module.file).or_default();
            for path in module.paths.iter().chain(&module.private_imports).chain(&module.globs) {
                let Some(absolute) = self.absolute(at, path) else { continue };
                let Some((target, item)) = self.definition(&absolute, 0) else { continue };
                // An imported module is not used by the import alone; the paths through it count.
                if !item.is_empty() && target.file != module.file {
                    edges.entry(&target.file).or_insert(item);
                }
            }
        }
        found
    }

    /// The path from the crate's root, or `None` for a path into another crate.
    fn absolute(&self, at: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut module = at.to_vec();
        let mut rest = path;
        match path.first().map(String::as_str)? {
            "crate" => {
                module.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|first| first == "super") {
                    module.pop()?;
                    rest = &rest[1..];
                }
            }
            first => {
                let here = self.modules.get(at)?;
                let child: Vec<String> = at.iter().cloned().chain([first.to_owned()]).collect();
                if let Some(import) = here.imports.get(first) {
                    // `use foo::foo` would lead to itself.
                    if import.first().is_some_and(|one| one == first) {
                        return None;
                    }
                    let mut absolute = self.absolute(at, import)?;
                    absolute.extend(path[1..].iter().cloned());
                    return Some(absolute);
                }
                if !self.modules.contains_key(&child) {
                    return None;
                }
            }
        }
        module.extend(rest.iter().cloned());
        Some(module)
    }

    /// The module in which the last item of a path is defined, and the item's name there; the name is empty if the path ends at a module.
    fn definition<'a>(&'a self, path: &[String], depth: usize) -> Option<(&'a Module, String)> {
        const DEPTH_MAX: usize = 16;
        let length = (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]))?;
        let (at, rest) = path.split_at(length);
        let module = self.modules.get(at)?;
        let Some(first) = rest.first() else { return Some((module, String::new())) };
        if depth < DEPTH_MAX {
            let imported = module.imports.get(first).and_then(|import| self.absolute(at, import));
            if let Some(mut import) = imported {
                import.extend(rest[1..].iter().cloned());
                return self.definition(&import, depth + 1);
            }
            if !module.types.contains_key(first) {
                for glob in &module.globs {
                    let Some(mut target) = self.absolute(at, glob) else { continue };
                    target.pop();
                    let declared = self.modules.get(&target).is_some_and(|one| one.types.contains_key(first));
                    if declared {
                        target.extend(rest.iter().cloned());
                        return self.definition(&target, depth + 1);
                    }
                }
            }
        }
        Some((module, first.clone()))
    }
}

impl Module {
    fn import(&mut self, import: &ItemUse) {
        let re_export = !matches!(import.vis, Visibility::Inherited);
        let mut found = Vec::new();
        flatten(&import.tree, &mut Vec::new(), &mut found);
        for (path, name) in found {
            if name == "*" {
                self.globs.push(path);
                continue;
            }
            if !re_export {
                self.private_imports.push(path.clone());
            }
            self.imports.insert(name, path);
        }
    }

    fn item(&mut self, item: &Item) {
        let declared = match item {
            Item::Struct(one) => Some((&one.vis, &one.ident)),
            Item::Enum(one) => Some((&one.vis, &one.ident)),
            Item::Trait(one) => Some((&one.vis, &one.ident)),
            Item::Type(one) => Some((&one.vis, &one.ident)),
            Item::Union(one) => Some((&one.vis, &one.ident)),
            _ => None,
        };
        if let Some((visibility, name)) = declared
            && !matches!(visibility, Visibility::Inherited)
        {
            let visible = if matches!(visibility, Visibility::Public(_)) {
                Visible::Everywhere
            } else {
                Visible::InCrate
            };
            self.types.insert(name.to_string(), visible);
        }
        self.visit_item(item);
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.paths.insert(names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        paths_of_tokens(invocation.tokens.clone(), &mut self.paths);
        visit::visit_macro(self, invocation);
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        // Inside a function.
        self.import(import);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            paths_of_tokens(list.tokens.clone(), &mut self.paths);
        }
    }
}

/// `a::b::c` in the arguments of a macro, whose grammar is not known.
fn paths_of_tokens(tokens: TokenStream, paths: &mut BTreeSet<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    let mut finish = |path: &mut Vec<String>| {
        if path.len() > 1 {
            paths.insert(std::mem::take(path));
        }
        path.clear();
    };
    let mut groups = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    finish(&mut path);
                }
                path.push(name.to_string());
                colons = 0;
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                finish(&mut path);
                colons = 0;
                groups.push(group.stream());
            }
            _ => {
                finish(&mut path);
                colons = 0;
            }
        }
    }
    finish(&mut path);
    for group in groups {
        paths_of_tokens(group, paths);
    }
}

/// Each path of a `use`, and the name by which it is known afterwards.
fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let with = |before: &[String], name: &str| -> Vec<String> {
        before.iter().cloned().chain([name.to_owned()]).collect()
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.clone(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found.push((with(before, &name), name));
        }
        UseTree::Rename(rename) => {
            found.push((with(before, &rename.ident.to_string()), rename.rename.to_string()));
        }
        UseTree::Glob(_) => found.push((with(before, "*"), "*".to_owned())),
        UseTree::Group(group) => group.items.iter().for_each(|one| flatten(one, before, found)),
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(one) => &one.attrs,
        Item::Enum(one) => &one.attrs,
        Item::Fn(one) => &one.attrs,
        Item::Impl(one) => &one.attrs,
        Item::Macro(one) => &one.attrs,
        Item::Mod(one) => &one.attrs,
        Item::Static(one) => &one.attrs,
        Item::Struct(one) => &one.attrs,
        Item::Trait(one) => &one.attrs,
        Item::Type(one) => &one.attrs,
        Item::Use(one) => &one.attrs,
        _ => &[],
    }
}

/// Whether an item is compiled for the crate's own tests only.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg")
            && list.tokens.to_string().split(|one: char| !one.is_alphanumeric()).any(|word| word == "test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate in a separate folder, which is removed at the end.
    struct Sample(PathBuf);

    impl Sample {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let folder = std::env::temp_dir().join(format!("chappe-tidy-{name}-{}", std::process::id()));
            for (file, text) in files {
                let path = folder.join(file);
                fs::create_dir_all(path.parent().expect("a file lies in a folder"))
                    .expect("create the folder");
                fs::write(path, text).expect("write the sample");
            }
            Self(folder)
        }

        fn dependencies(&self) -> Vec<String> {
            let modules = Modules::read(&self.0.join("lib.rs")).expect("read the sample");
            let edges = modules.dependencies();
            edges
                .iter()
                .flat_map(|(from, to)| {
                    to.iter().map(|(to, name)| format!("{} {} {name}", from.display(), to.display()))
                })
                .collect()
        }
    }

    impl Drop for Sample {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("remove the sample");
        }
    }

    #[test]
    fn a_re_export_is_followed_to_the_file_that_defines_the_name() {
        let sample = Sample::new(
            "re-export",
            &[
                ("lib.rs", "mod a; mod b; pub use a::deep::Thing;"),
                ("a.rs", "pub(crate) mod deep; pub(crate) use deep::Thing as Renamed;"),
                ("a/deep.rs", "pub struct Thing;"),
                ("b.rs", "use crate::{Thing, a::{self, Renamed as R}}; fn f() -> a::deep::Thing { R }"),
            ],
        );
        assert_eq!(sample.dependencies(), ["b.rs a/deep.rs Thing"]);
    }

    #[test]
    fn paths_in_code_and_in_macros_count_and_tests_do_not() {
        let sample = Sample::new(
            "paths",
            &[
                ("lib.rs", "mod a; mod b; mod c;"),
                ("a.rs", "fn f() { vec![super::b::value()]; }"),
                (
                    "b.rs",
                    "pub(super) fn value() -> u8 { 0 } #[cfg(test)] mod tests { use super::super::c::G; }",
                ),
                ("c.rs", "pub(super) struct G(crate::b::Absent);"),
            ],
        );
        assert_eq!(sample.dependencies(), ["a.rs b.rs value", "c.rs b.rs Absent"]);
    }
}
