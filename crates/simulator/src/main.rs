//! A simulator with seeds: the product's own storage and realtime code in one thread, with virtual time, files and sockets. A seed decides
//! what happens and which faults occur; models in plain Rust define the required results. A seed always gives the same run.
//!
//! `simulator --seeds 500` runs seeds from 0 on in several processes; `simulator --seed 7` repeats one and shows its events.
//! `docs/testing.md` says what is simulated and how to look into a failure.
//!
//! Know these first: `system.rs` (the functions of the C library that the simulated code calls), `disk.rs` (what a power failure
//! leaves), `storage.rs` (journals, keys and leases), `documents.rs` (the document service), `delivery.rs` (the realtime service). Start reading at `run.rs`.

#[cfg(target_os = "linux")]
mod chance;
#[cfg(target_os = "linux")]
mod delivery;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod documents;
#[cfg(target_os = "linux")]
mod events;
#[cfg(target_os = "linux")]
mod many;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod storage;
#[cfg(target_os = "linux")]
mod system;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("the simulator needs Linux: it stands in for functions of that system's C library");
    std::process::ExitCode::FAILURE
}
