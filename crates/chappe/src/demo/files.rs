//! The example included in the binary, so that the demo works without a checkout.

macro_rules! example {
    ($($name:literal),* $(,)?) => {
        /// Name and content of each file, relative to the example's folder.
        pub(super) const FILES: &[(&str, &[u8])] = &[
            $(($name, include_bytes!(concat!("../../../../examples/live-documents/", $name)))),*
        ];
    };
}

example! {
    ".funcignore",
    ".gitignore",
    ".npmrc",
    "README.md",
    "chappe.toml",
    "host.json",
    "local.settings.json",
    "package-lock.json",
    "package.json",
    "public/api.js",
    "public/app.js",
    "public/experiments.js",
    "public/index.html",
    "public/ledger.js",
    "public/mark.svg",
    "public/pane.js",
    "public/steps.js",
    "public/style.css",
    "public/terminal.js",
    "public/way.js",
    "src/functions/cards.js",
    "src/functions/changed.js",
    "src/functions/negotiate.js",
    "src/functions/welcome.js",
}

#[cfg(test)]
mod tests {
    use super::FILES;

    /// A file that is added to the example but not to the list would be missing in the unpacked example.
    #[test]
    fn every_file_of_the_example_is_embedded() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/live-documents");
        let output = std::process::Command::new("git").args(["ls-files", "."]).current_dir(root).output();
        let output = output.expect("the tests run in a checkout");
        let mut tracked: Vec<&str> =
            std::str::from_utf8(&output.stdout).expect("names are text").lines().collect();
        let mut carried: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        tracked.sort_unstable();
        carried.sort_unstable();
        assert_eq!(tracked, carried);
    }
}
