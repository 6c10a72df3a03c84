//! The report of a bench: tables with their goals, and all of it as JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};

/// One table with its goals.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// The text below the title: how it was measured.
    pub(crate) note: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) goals: Vec<Goal>,
    /// Every sample, for the JSON file.
    pub(crate) samples: Value,
}

/// A goal.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    /// NaN if every sample was disturbed; then no goal is met.
    pub(crate) measured: f64,
    pub(crate) must: f64,
    pub(crate) aim: Option<f64>,
    pub(crate) better: Better,
}

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    Less,
    More,
}

/// The median of some values, and their range.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Section {
    /// A table in Markdown, with its goals below.
    pub(crate) fn show(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.title, self.note);
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text += &line(&self.head);
        text += &format!("|{}\n", "---|".repeat(self.head.len()));
        for row in &self.rows {
            text += &line(row);
        }
        text.push('\n');
        for goal in &self.goals {
            let _ = writeln!(text, "- {}", goal.show());
        }
        text
    }

    /// Prints the table, and writes it as JSON to a file if one is named.
    ///
    /// # Errors
    ///
    /// If the file cannot be written or, with `is_checked`, if a goal is missed.
    pub(crate) fn publish(&self, json: Option<&Path>, is_checked: bool) -> anyhow::Result<()> {
        println!("{}", self.show());
        if let Some(path) = json {
            let text = serde_json::to_vec_pretty(&self.to_json())?;
            std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let missed: Vec<&str> =
            self.goals.iter().filter(|goal| !goal.is_met()).map(|goal| goal.what.as_str()).collect();
        if is_checked && !missed.is_empty() {
            bail!("missed: {}", missed.join(", "));
        }
        Ok(())
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "title": self.title,
            "note": self.note,
            "head": self.head,
            "rows": self.rows,
            "goals": self.goals,
            "samples": self.samples,
        })
    }
}

impl Goal {
    pub(crate) fn is_met(&self) -> bool {
        self.reaches(self.must)
    }

    fn reaches(&self, bound: f64) -> bool {
        match self.better {
            Better::Less => self.measured <= bound,
            Better::More => self.measured >= bound,
        }
    }

    fn show(&self) -> String {
        let than = if self.better == Better::Less { "at most" } else { "at least" };
        let verdict = match self.aim {
            _ if !self.is_met() => "MISSED",
            Some(aim) if !self.reaches(aim) => "met, the aim is not",
            _ => "met",
        };
        let aim = self.aim.map_or_else(String::new, |aim| format!(", aim {aim}"));
        format!("{}: {:.2}, {than} {}{aim}: {verdict}", self.what, self.measured, self.must)
    }
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(values.len() / 2), lowest: at(0), highest: at(values.len().saturating_sub(1)) }
    }

    pub(crate) fn show(&self, digits: usize) -> String {
        if self.median.is_nan() {
            return "–".to_owned();
        }
        format!("{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.lowest, self.highest)
    }
}

/// The machine, the date, and the command.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches([' ', '\t', ':']).trim().to_owned()
    };
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let kilobytes: u64 =
        field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = jiff::Zoned::now().date();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "{date}, {processor}, {cores} processors, {} GiB, Linux {}: `cargo xtask bench {}`",
        kilobytes >> 20,
        kernel.trim(),
        arguments.join(" ")
    )
}
