//! The clients: one thread connects all of them, requests bursts from the server, and counts everything that arrives.
//!
//! To measure the server, the generator must cost much less than it. Most clients are read only from time to time, a share of them after
//! each burst, while the server works; a few are probes, watched by a poll: when the last probe has received a burst, the next one is
//! requested. Everything is counted for every client, so that no loss is unnoticed.

mod args;
mod clients;
mod control;
mod load;
mod open;
mod polls;
mod publisher;
mod stream;

use std::io::{self, BufRead};
use std::time::{Duration, Instant};

use super::process::{allow_files, anonymous_bytes, cpu_ns, pin};
use super::task::{Ready, Sample, Task};
use crate::core_time::{CoreClock, processor};
pub(crate) use args::{Args, Transport};
use clients::Clients;
use control::Control;
use load::{Latencies, Load};
pub(crate) use open::shake_hands;
use polls::Polls;
use publisher::Publisher;
pub(super) use publisher::{authorization, path};
pub(crate) use stream::discard_all;

/// Clients that are connected before memory is first measured, so that one-time allocations are not counted for each client.
const FIRST: u32 = 100;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut clock = CoreClock::new(processor(0)?)?;
    pin(1)?;
    allow_files(u64::from(args.connections) + 200)?;
    let mut control = Control::connect(args)?;
    let mut load: Box<dyn Load> = match args.transport {
        Transport::LongPolling => Box::new(Polls::new(args)?),
        Transport::WebSockets | Transport::ServerSentEvents => Box::new(Clients::new(args)?),
    };
    let first = FIRST.min(args.connections / 2);
    for number in 0..first {
        load.connect(number)?;
    }
    let before = anonymous_bytes(args.process)?;
    for number in first..args.connections {
        load.connect(number)?;
    }
    let after = anonymous_bytes(args.process)?;
    let idle_bytes = (after as f64 - before as f64) / f64::from(args.connections - first);
    // The client that never reads is a member like the others, but its messages are not counted.
    let _slow_reader = args.slow_reader.then(|| open::slow_reader(args)).transpose()?;
    control.join(u64::from(args.connections + u32::from(args.slow_reader)))?;
    if args.slow_reader {
        open::fill(args)?;
    }
    // The calling clients are not members: otherwise they would have to read what they sent.
    let mut publisher = Publisher::new(control, args)?;
    println!("{}", serde_json::to_string(&Ready { idle_bytes })?);
    for line in io::stdin().lock().lines() {
        let task: Task = serde_json::from_str(&line?)?;
        let sample = sample(load.as_mut(), &mut publisher, &mut clock, &task)?;
        println!("{}", serde_json::to_string(&sample)?);
    }
    Ok(())
}

/// Most bytes that are sent to a client in a sample during which it is not read: fewer than its socket buffers.
const UNREAD_BYTES_MAX: u64 = 16 * 1024;

fn sample(
    load: &mut dyn Load,
    publisher: &mut Publisher,
    clock: &mut CoreClock,
    task: &Task,
) -> anyhow::Result<Sample> {
    publisher.prepare(task)?;
    // One-time work, such as growing a buffer, belongs to no sample.
    for _ in 0..3 {
        load.burst(publisher, task, &mut Latencies::default())?;
    }
    load.finish(publisher, task, &mut Latencies::default())?;
    load.settle(3 * u64::from(task.burst))?;
    let mut latencies = Latencies::default();
    let writes_before = publisher.control.writes()?;
    let bursts_max = match task.reads_after {
        true => UNREAD_BYTES_MAX / (u64::from(task.burst) * task.frame_bytes as u64),
        false => u64::MAX,
    };
    clock.start()?;
    let (own_before, began) = (cpu_ns(), Instant::now());
    let mut bursts = 0u64;
    while began.elapsed() < Duration::from_millis(task.sample_ms) && bursts < bursts_max {
        load.burst(publisher, task, &mut latencies)?;
        bursts += 1;
    }
    load.finish(publisher, task, &mut latencies)?;
    let core = clock.stop()?;
    let own_after = cpu_ns();
    let writes_after = publisher.control.writes()?;
    let each = bursts * u64::from(task.burst);
    load.settle(each)?;
    let [probe_p50_ns, probe_p99_ns] = percentiles(&mut latencies.probes);
    let [last_p50_ns, last_p99_ns] = percentiles(&mut latencies.last);
    Ok(Sample {
        messages: each * load.count(),
        core,
        generator_cpu_ns: own_after - own_before,
        writes: writes_after.zip(writes_before).map(|(after, before)| after - before),
        probe_p50_ns,
        probe_p99_ns,
        last_p50_ns,
        last_p99_ns,
    })
}

/// The median, and the 99th percentile.
fn percentiles(values: &mut [u64]) -> [u64; 2] {
    values.sort_unstable();
    [0.5, 0.99].map(|share| {
        let at = (values.len().saturating_sub(1) as f64 * share) as usize;
        values.get(at).copied().unwrap_or(0)
    })
}
