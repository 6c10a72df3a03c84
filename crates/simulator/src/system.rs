//! The functions of the C library that a simulated process uses: clock, random numbers and changes of files.
//!
//! They are defined here and take precedence over those of the C library, so that the product's code, the standard library and SQLite call
//! these; the product needs no second code path for a simulation. In a thread without a simulation, each forwards the call to the system.
//! Only calls that change files are here: reads go to the real files below the [`Disk`].
#![allow(
    unsafe_code,
    reason = "functions that are called by C cannot be anything else; each is given valid arguments by its caller, as the standard says"
)]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, OsStr, c_char, c_int, c_long, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::chance::Chance;
use crate::disk::Disk;

/// The date at which simulated time starts, in seconds since the Unix epoch.
const BEGIN_S: u64 = 1_900_000_000;
/// How much time passes with each read of the clock, so that a loop that waits for a change ends.
const LOOK_NS: u64 = 100;

thread_local! {
    /// Simulated time, in nanoseconds; 0 if nothing is simulated.
    static CLOCK: Cell<u64> = const { Cell::new(0) };
    static RANDOM: RefCell<Option<Chance>> = const { RefCell::new(None) };
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// Starts the simulation in this thread, until [`end`].
pub(crate) fn begin(seed: u64, disk: Disk) {
    RANDOM.set(Some(Chance::new(seed)));
    CLOCK.set(BEGIN_S * 1_000_000_000);
    DISK.set(Some(disk));
    // SQLite seeds its generator from the system at first use.
    // SAFETY: with no requested bytes, it only discards that seed.
    unsafe { sqlite3_randomness(0, std::ptr::null_mut()) };
}

unsafe extern "C" {
    fn sqlite3_randomness(bytes: c_int, buffer: *mut c_void);
}

/// Ends the simulation of this thread.
pub(crate) fn end() {
    DISK.take();
    RANDOM.take();
    CLOCK.set(0);
}

/// Advances simulated time.
pub(crate) fn pass(time: Duration) {
    let nanoseconds = u64::try_from(time.as_nanos()).expect("a simulation is short");
    CLOCK.set(CLOCK.get() + nanoseconds);
}

/// Uses the disk of this thread's simulation.
pub(crate) fn disk<T>(ask: impl FnOnce(&mut Disk) -> T) -> T {
    DISK.with_borrow_mut(|disk| ask(disk.as_mut().expect("a simulation has begun")))
}

/// The same if there may be no simulation.
fn if_simulated<T>(ask: impl FnOnce(&mut Disk) -> Option<T>) -> Option<T> {
    // While the disk itself works, and when the thread ends, calls go to the system.
    DISK.try_with(|disk| disk.try_borrow_mut().ok()?.as_mut().and_then(ask)).ok().flatten()
}

fn fail(number: c_int) -> c_int {
    // SAFETY: the memory belongs to this thread.
    unsafe { *libc::__errno_location() = number };
    -1
}

/// Calls the kernel; numbers are passed unchanged.
macro_rules! kernel {
    ($($argument:expr),+) => {
        // SAFETY: the arguments are the caller's, in the form that the replaced function requires.
        unsafe { libc::syscall($($argument),+) }
    };
}

/// # Safety
///
/// `path` is a text that ends with a zero byte.
unsafe fn path_of<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: as above.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

fn text_of(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path has no zeros")
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let now = CLOCK.try_with(|clock| {
        let now = clock.get();
        if now > 0 {
            clock.set(now + LOOK_NS);
        }
        now
    });
    match now {
        Ok(now) if now > 0 => {
            let (seconds, rest) = (now / 1_000_000_000, now % 1_000_000_000);
            // SAFETY: the caller passes memory for the time.
            unsafe {
                (*time).tv_sec = seconds.cast_signed();
                (*time).tv_nsec = rest.cast_signed();
            }
            0
        }
        _ => kernel!(libc::SYS_clock_gettime, clock, time) as c_int,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: libc::clockid_t,
    flags: c_int,
    time: *const libc::timespec,
    left: *mut libc::timespec,
) -> c_int {
    if CLOCK.get() > 0 {
        // SAFETY: the caller passes a time.
        let time = unsafe { &*time };
        pass(Duration::new(time.tv_sec.cast_unsigned(), 0));
        pass(Duration::from_nanos(time.tv_nsec.cast_unsigned()));
        return 0;
    }
    kernel!(libc::SYS_clock_nanosleep, clock, flags, time, left) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn usleep(microseconds: c_uint) -> c_int {
    if CLOCK.get() > 0 {
        pass(Duration::from_micros(microseconds.into()));
        return 0;
    }
    std::thread::sleep(Duration::from_micros(microseconds.into()));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let drawn = RANDOM.try_with(|random| {
        let mut random = random.borrow_mut();
        let random = random.as_mut()?;
        for at in 0..length {
            // SAFETY: the caller passes a buffer of that length.
            unsafe { *buffer.cast::<u8>().add(at) = random.number() as u8 };
        }
        Some(length)
    });
    match drawn {
        Ok(Some(length)) => length.cast_signed(),
        _ => kernel!(libc::SYS_getrandom, buffer, length, flags) as isize,
    }
}

/// # Safety
///
/// As `open`.
unsafe fn open_any(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let call = || kernel!(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int;
    // SAFETY: as the caller's.
    let name = unsafe { path_of(path) };
    let opened = if_simulated(|disk| {
        if !disk.has(name) {
            return None;
        }
        let exists = kernel!(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK) == 0;
        let is_new = !exists && flags & libc::O_CREAT != 0;
        if !disk.may_open(is_new) {
            return Some(fail(libc::EIO));
        }
        let truncates = exists && flags & libc::O_TRUNC != 0;
        let descriptor =
            kernel!(libc::SYS_openat, libc::AT_FDCWD, path, flags & !libc::O_TRUNC, mode) as c_int;
        if descriptor < 0 {
            return Some(descriptor);
        }
        disk.opened(descriptor, name, is_new);
        if truncates && truncate_in(disk, descriptor, 0) < 0 {
            return Some(-1);
        }
        Some(descriptor)
    });
    opened.unwrap_or_else(call)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: as the caller's.
    unsafe { open_any(path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: as the caller's.
    unsafe { open_any(path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    if_simulated(|disk| {
        disk.closed(descriptor);
        Some(())
    });
    kernel!(libc::SYS_close, descriptor) as c_int
}

fn length_of(descriptor: c_int) -> u64 {
    // SAFETY: all zeros is a value of this structure of numbers, and the kernel fills it.
    let status = unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        libc::fstat(descriptor, &raw mut status);
        status
    };
    status.st_size.cast_unsigned()
}

/// At most `count` bytes at `at`.
fn bytes_at(descriptor: c_int, at: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0_u8; count];
    let read = kernel!(libc::SYS_pread64, descriptor, bytes.as_mut_ptr(), count, at);
    bytes.truncate(usize::try_from(read).unwrap_or(0));
    bytes
}

/// # Safety
///
/// As `pwrite`.
unsafe fn write_at(
    descriptor: c_int,
    buffer: *const c_void,
    count: usize,
    at: i64,
    moves: bool,
) -> Option<isize> {
    if_simulated(|disk| {
        if !disk.has_open(descriptor) {
            return None;
        }
        // SAFETY: the caller passes this many bytes.
        let new = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), count) };
        let place = at.cast_unsigned();
        let written = disk
            .write(descriptor, place, new, length_of(descriptor), |count| bytes_at(descriptor, place, count));
        let count = match written {
            Ok(count) => count,
            Err(number) => return Some(fail(number) as isize),
        };
        let written = kernel!(libc::SYS_pwrite64, descriptor, buffer, count, at);
        if moves && written > 0 {
            kernel!(libc::SYS_lseek, descriptor, at + written, libc::SEEK_SET);
        }
        Some(written as isize)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, buffer: *const c_void, count: usize) -> isize {
    let at = if_simulated(|disk| {
        disk.has_open(descriptor).then(|| kernel!(libc::SYS_lseek, descriptor, 0_i64, libc::SEEK_CUR))
    });
    // SAFETY: as the caller's.
    let written = at.and_then(|at| unsafe { write_at(descriptor, buffer, count, at, true) });
    written.unwrap_or_else(|| kernel!(libc::SYS_write, descriptor, buffer, count) as isize)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(descriptor: c_int, buffer: *const c_void, count: usize, at: i64) -> isize {
    // SAFETY: as the caller's.
    let written = unsafe { write_at(descriptor, buffer, count, at, false) };
    written.unwrap_or_else(|| kernel!(libc::SYS_pwrite64, descriptor, buffer, count, at) as isize)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(descriptor: c_int, buffer: *const c_void, count: usize, at: i64) -> isize {
    // SAFETY: as the caller's.
    unsafe { pwrite(descriptor, buffer, count, at) }
}

fn truncate_in(disk: &mut Disk, descriptor: c_int, length: i64) -> c_int {
    let (before, after) = (length_of(descriptor), length.cast_unsigned());
    let cut = usize::try_from(before.saturating_sub(after)).unwrap_or(0);
    match disk.truncate(descriptor, after, before, bytes_at(descriptor, after, cut)) {
        Ok(()) => kernel!(libc::SYS_ftruncate, descriptor, length) as c_int,
        Err(number) => fail(number),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(descriptor: c_int, length: i64) -> c_int {
    if_simulated(|disk| disk.has_open(descriptor).then(|| truncate_in(disk, descriptor, length)))
        .unwrap_or_else(|| kernel!(libc::SYS_ftruncate, descriptor, length) as c_int)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(descriptor: c_int, length: i64) -> c_int {
    // SAFETY: as the caller's.
    unsafe { ftruncate(descriptor, length) }
}

fn flush(descriptor: c_int, call: c_long) -> c_int {
    let flushed = if_simulated(|disk| disk.has_open(descriptor).then(|| disk.flush(descriptor)));
    match flushed {
        Some(Ok(())) => 0,
        Some(Err(number)) => fail(number),
        None => kernel!(call, descriptor) as c_int,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(descriptor: c_int) -> c_int {
    flush(descriptor, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    flush(descriptor, libc::SYS_fdatasync)
}

fn rename_in_kernel(from: &Path, to: &Path) -> c_int {
    let (from, to) = (text_of(from), text_of(to));
    kernel!(libc::SYS_renameat, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr()) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: as the caller's.
    let (old, new) = unsafe { (path_of(from), path_of(to)) };
    let renamed = if_simulated(|disk| {
        if !disk.has(old) {
            return None;
        }
        Some(match disk.rename(old, new) {
            Ok(replaced) => {
                if let Some(gone) = replaced {
                    rename_in_kernel(new, &gone);
                }
                rename_in_kernel(old, new)
            }
            Err(number) => fail(number),
        })
    });
    renamed.unwrap_or_else(|| kernel!(libc::SYS_renameat, libc::AT_FDCWD, from, libc::AT_FDCWD, to) as c_int)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: as the caller's.
    let name = unsafe { path_of(path) };
    let removed = if_simulated(|disk| {
        let exists = kernel!(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK) == 0;
        if !disk.has(name) || !exists {
            return None;
        }
        Some(match disk.remove(name) {
            Ok(gone) => rename_in_kernel(name, &gone),
            Err(number) => fail(number),
        })
    });
    removed.unwrap_or_else(|| kernel!(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: libc::mode_t) -> c_int {
    // SAFETY: as the caller's.
    let name: PathBuf = unsafe { path_of(path) }.to_owned();
    let refused = if_simulated(|disk| {
        if !disk.has(&name) || name.exists() {
            return None;
        }
        disk.make_folder(&name).err().map(fail)
    });
    refused.unwrap_or_else(|| kernel!(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) as c_int)
}
