//! Runs one command as a named step, and prints how long it took.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

/// Runs `cargo` with these arguments; if it fails, the error contains the command line.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(Command::new(cargo).args(arguments).current_dir(root))
}

/// Runs a command to its end; if it fails, the error contains its command line.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = describe(command);
    let status = command.status().with_context(|| format!("start {line}"))?;
    if !status.success() {
        bail!("{line} ended with {status}");
    }
    Ok(())
}

/// A name, and the function that runs the step.
pub(crate) type Step<'a> = (&'a str, Box<dyn FnOnce() -> anyhow::Result<()> + 'a>);

/// Runs the steps whose name contains a text, without regard to case, or all of them; fails if there is none with that name.
pub(crate) fn run_steps(steps: Vec<Step<'_>>, only: Option<&str>) -> anyhow::Result<()> {
    let names: Vec<&str> = steps.iter().map(|(name, _work)| *name).collect();
    let only = only.map(str::to_lowercase);
    let mut ran = 0;
    for (name, work) in steps {
        if only.as_ref().is_none_or(|only| name.to_lowercase().contains(only)) {
            step(name, work)?;
            ran += 1;
        }
    }
    if ran == 0 {
        bail!("no step has this name; the steps are: {}", names.join(", "));
    }
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("==> {name}");
    let started = Instant::now();
    work().with_context(|| format!("step {name}"))?;
    println!("<== {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_chosen_by_a_part_of_their_name_and_an_unknown_name_is_an_error() {
        let count = std::cell::Cell::new(0);
        let run = |only| {
            let work = || -> Box<dyn FnOnce() -> anyhow::Result<()>> {
                Box::new(|| {
                    count.set(count.get() + 1);
                    Ok(())
                })
            };
            run_steps(vec![("rust tests", work()), ("real clients", work())], only)
        };

        run(Some("Rust")).expect("one step has this name");
        assert_eq!(count.get(), 1);
        run(None).expect("all steps pass");
        assert_eq!(count.get(), 3);
        let error = run(Some("no such step")).expect_err("no step has this name");
        assert!(error.to_string().contains("rust tests, real clients"), "{error}");
    }
}
