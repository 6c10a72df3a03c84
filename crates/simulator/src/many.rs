//! Many seeds, in one process for each processor: progress, a time limit, and the first seed that fails.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Seeds that one child process runs.
const SHARE: u64 = 50;
/// How often progress is printed.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Which seeds, and how.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) first: u64,
    pub(crate) seeds: u64,
    pub(crate) processes: u64,
    /// No further seeds are started after this time.
    pub(crate) time_max: Option<Duration>,
    /// Arguments of each process, apart from its seeds.
    pub(crate) arguments: &'a [String],
}

/// What the workers share.
#[derive(Debug)]
struct Progress {
    began: Instant,
    reported: Instant,
    next: u64,
    done: u64,
    /// The first failure.
    failure: Option<String>,
}

/// Runs all seeds, until one fails or the time limit is reached.
pub(crate) fn run(plan: &Plan<'_>) -> Result<()> {
    let now = Instant::now();
    let progress = Progress { began: now, reported: now, next: plan.first, done: 0, failure: None };
    let progress = Mutex::new(progress);
    std::thread::scope(|scope| {
        for _ in 0..plan.processes.max(1) {
            scope.spawn(|| {
                while let Some((first, count)) = claim(plan, &progress) {
                    let result = run_share(plan, first, count);
                    report(plan, &progress, count, result);
                }
            });
        }
    });
    let Progress { began, done, failure, .. } = progress.into_inner().context("a worker panicked")?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some(failure) = failure {
        bail!("{failure}");
    }
    println!("{done} of {} seeds passed in {seconds:.0} s", plan.seeds);
    Ok(())
}

/// The next seeds to run; `None` if there are no more, one has failed, or the time limit is reached.
fn claim(plan: &Plan<'_>, progress: &Mutex<Progress>) -> Option<(u64, u64)> {
    let mut progress = progress.lock().ok()?;
    let left = (plan.first + plan.seeds).saturating_sub(progress.next);
    let is_late = plan.time_max.is_some_and(|most| progress.began.elapsed() >= most);
    if left == 0 || is_late || progress.failure.is_some() {
        return None;
    }
    let (first, count) = (progress.next, left.min(SHARE));
    progress.next += count;
    Some((first, count))
}

/// Runs some seeds in a separate process. Its report of a failure is the error.
fn run_share(plan: &Plan<'_>, first: u64, count: u64) -> Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.args(["--here", "--first", &first.to_string(), "--seeds", &count.to_string()]);
    // A panic that the code catches is not a failure.
    command.args(plan.arguments).env("RUST_BACKTRACE", "0").stderr(Stdio::piped());
    let child = command.spawn().context("start a process")?;
    let output = child.wait_with_output().context("wait for a process")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{text}(of the seeds from {first} on; the process ended with {})", output.status);
    }
    Ok(())
}

fn report(plan: &Plan<'_>, progress: &Mutex<Progress>, count: u64, result: Result<()>) {
    let Ok(mut progress) = progress.lock() else { return };
    match result {
        Ok(()) => progress.done += count,
        Err(error) => {
            progress.failure.get_or_insert_with(|| format!("{error:#}"));
        }
    }
    if progress.reported.elapsed() >= REPORT_EVERY {
        progress.reported = Instant::now();
        let seconds = progress.began.elapsed().as_secs_f64();
        let rate = progress.done as f64 / seconds;
        let left = (plan.seeds - progress.done) as f64 / rate.max(0.01);
        println!("{} of {} seeds, {seconds:.0} s, {rate:.0}/s, {left:.0} s left", progress.done, plan.seeds);
    }
}
