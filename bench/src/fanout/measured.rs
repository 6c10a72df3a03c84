//! [`Measured`]: the samples of one table, and how they are shown.

use serde_json::{Value, json};

use super::pair::Pair;
use super::table::{Contender, Table};
use super::task::{PublishPath, Sample, Task};
use crate::report::{Goal, Section, Spread};

/// The samples of one table.
pub(super) struct Measured {
    contenders: Vec<Contender>,
    tasks: Vec<Task>,
    /// By contender, task and round; absent if every attempt was disturbed.
    samples: Vec<Vec<Vec<Option<Sample>>>>,
    /// By contender: samples that were left out.
    disturbed: Vec<usize>,
    /// By contender: memory of an idle client, in bytes.
    idle_bytes: Vec<f64>,
}

impl Measured {
    /// Measures all samples of a table, the contenders in turn within each round. A contender that cannot start is named and left out.
    pub(super) fn take(table: &Table, rounds: usize, tries: usize) -> anyhow::Result<Self> {
        let frame_bytes = table.tasks.first().map_or(0, |task| task.frame_bytes);
        let (mut contenders, mut pairs) = (Vec::new(), Vec::new());
        for contender in &table.contenders {
            match Pair::start(&contender.name, &contender.setup, frame_bytes) {
                Ok(pair) => {
                    contenders.push(contender.clone());
                    pairs.push(pair);
                }
                Err(error) if contender.is_foreign() => {
                    eprintln!("{} is left out: {error:#}", contender.name);
                }
                Err(error) => return Err(error),
            }
        }
        let count = contenders.len();
        let mut measured = Self {
            idle_bytes: pairs.iter().map(|pair| pair.ready.idle_bytes).collect(),
            samples: vec![vec![Vec::new(); table.tasks.len()]; count],
            disturbed: vec![0; count],
            contenders,
            tasks: table.tasks.clone(),
        };
        for round in 0..rounds {
            for task in 0..table.tasks.len() {
                // The order changes in each round, so that a drift of the machine does not always favour the same contender.
                for turn in 0..count {
                    let at = (turn + round) % count;
                    let own = measured.contenders[at].own_task(&table.tasks[task]);
                    let sample = pairs[at].sample(&own, tries, &mut measured.disturbed[at])?;
                    measured.samples[at][task].push(sample);
                }
            }
            eprintln!("{}: round {} of {rounds}", table.key, round + 1);
        }
        for pair in pairs {
            pair.stop()?;
        }
        Ok(measured)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.contenders.iter().any(|contender| contender.name == name)
    }

    /// Samples of the first matching task, by round.
    fn find(&self, name: &str, is_meant: impl Fn(&Task) -> bool) -> &[Option<Sample>] {
        let contender = self.contenders.iter().position(|contender| contender.name == name);
        let task = self.tasks.iter().position(is_meant);
        let found = contender.zip(task).map(|(contender, task)| &self.samples[contender][task]);
        found.map_or(&[], Vec::as_slice)
    }

    /// One contender's value for a task as a multiple of another's in the same round: the median.
    pub(super) fn ratio(
        &self,
        name: &str,
        other: &str,
        is_meant: impl Fn(&Task) -> bool + Copy,
        value: impl Fn(&Sample) -> f64,
    ) -> f64 {
        ratios(self.find(name, is_meant), self.find(other, is_meant), value).median
    }

    /// A contender's value for one task as a multiple of its value for another in the same round: the median.
    pub(super) fn ratio_of_tasks(
        &self,
        name: &str,
        task: impl Fn(&Task) -> bool,
        other: impl Fn(&Task) -> bool,
        value: impl Fn(&Sample) -> f64,
    ) -> f64 {
        ratios(self.find(name, task), self.find(name, other), value).median
    }

    pub(super) fn section(&self, table: &Table, goals: Vec<Goal>, rounds: usize) -> Section {
        let head = [
            "at once",
            "under way",
            "frame",
            "to",
            "published",
            "server",
            "us a message",
            "to raw",
            "core busy",
            "messages/s",
            "sends a message",
            "last, p50 ms",
            "last, p99 ms",
            "idle bytes",
            "left out",
        ];
        let mut rows = Vec::new();
        for task in 0..self.tasks.len() {
            for contender in 0..self.contenders.len() {
                rows.push(self.row(contender, task));
            }
        }
        let mut head = head.map(str::to_owned).to_vec();
        let same = take_same(&mut head, &mut rows, &["under way", "frame", "to", "published"]);
        let sample_ms = self.tasks.first().map_or(0, |task| task.sample_ms);
        Section {
            title: table.title.clone(),
            note: format!(
                "{} In all rows: {}. {rounds} rounds of {sample_ms} ms, medians (ranges); no message was lost or came twice.",
                table.note,
                same.join(", ")
            ),
            head,
            rows,
            goals,
            samples: self.to_json(),
        }
    }

    fn row(&self, contender: usize, task: usize) -> Vec<String> {
        let samples = &self.samples[contender][task];
        let over = |value: fn(&Sample) -> f64| Spread::of(samples.iter().flatten().map(value));
        let sends = over(Sample::sends).median;
        let what = self.contenders[contender].own_task(&self.tasks[task]);
        let publish_path = match what.publish_path {
            PublishPath::Direct => "in process",
            PublishPath::Rest => "REST",
            PublishPath::Upstream => "upstream",
        };
        vec![
            what.burst.to_string(),
            what.in_flight.to_string(),
            what.frame_bytes.to_string(),
            what.shape.name().to_owned(),
            publish_path.to_owned(),
            self.contenders[contender].name.clone(),
            over(Sample::cost_us).show(3),
            ratios(samples, &self.samples[0][task], Sample::cost_us).show(2),
            shown(100.0 * over(|sample| sample.core.busy_share()).median, 0) + " %",
            shown(over(Sample::messages_per_second).median, 0),
            shown(sends, 3),
            shown(over(|sample| sample.last_p50_ns as f64 / 1e6).median, 2),
            shown(over(|sample| sample.last_p99_ns as f64 / 1e6).median, 2),
            format!("{:.0}", self.idle_bytes[contender]),
            self.disturbed[contender].to_string(),
        ]
    }

    fn to_json(&self) -> Value {
        let of = |contender: usize| {
            let tasks = self.tasks.iter().zip(&self.samples[contender]);
            json!({
                "name": self.contenders[contender].name,
                "connections": self.contenders[contender].setup.connections,
                "idle_bytes": self.idle_bytes[contender],
                "disturbed": self.disturbed[contender],
                "samples": tasks.map(|(task, rounds)| json!({ "task": task, "rounds": rounds })).collect::<Vec<_>>(),
            })
        };
        (0..self.contenders.len()).map(of).collect()
    }
}

/// A value, or a dash if there is none.
fn shown(value: f64, digits: usize) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{value:.digits$}") }
}

/// Removes columns in which all rows are equal, and returns a text with their values.
fn take_same(head: &mut Vec<String>, rows: &mut [Vec<String>], names: &[&str]) -> Vec<String> {
    let mut same = Vec::new();
    for name in names {
        let Some(at) = head.iter().position(|column| column == name) else { continue };
        let first = rows.first().map(|row| row[at].clone()).unwrap_or_default();
        if rows.iter().all(|row| row[at] == first) {
            head.remove(at);
            rows.iter_mut().for_each(|row| drop(row.remove(at)));
            same.push(format!("{name} {first}"));
        }
    }
    same
}

/// Each value as a multiple of the other value of the same round.
fn ratios(own: &[Option<Sample>], other: &[Option<Sample>], value: impl Fn(&Sample) -> f64) -> Spread {
    let both = own.iter().zip(other);
    Spread::of(both.filter_map(|(own, other)| Some(value(own.as_ref()?) / value(other.as_ref()?))))
}
