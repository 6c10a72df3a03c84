//! The checksum layer below SQLite: a VFS (<https://www.sqlite.org/vfs.html>) that wraps the system's VFS. Pages of
//! database files get a checksum when they are written; pages, and frames of write-ahead logs, are checked when they are read. A
//! damaged page gives `SQLITE_IOERR_DATA` and never reaches a query.
#![allow(
    unsafe_code,
    reason = "SQLite calls a VFS through C function pointers. `CheckedFile::of` explains why the pointers are valid"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::Connection;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

use crate::page::{
    self, FRAME_HEADER_BYTES, LOG_HEADER_BYTES, PAGE_BYTES, PageBytes, RESERVED_AT, RESERVED_BYTES,
};

/// The name of the VFS.
pub(crate) const NAME: &CStr = c"chappe-checked";

/// Size of a frame with its header, in bytes.
const FRAME_BYTES: u64 = (FRAME_HEADER_BYTES + PAGE_BYTES) as u64;

/// The system's VFS, and the offset of [`CheckedFile`] in the memory of an open file.
struct Registered {
    system: *mut sqlite3_vfs,
    tail_at: usize,
}

// SAFETY: the pointer is that of a VFS of SQLite's own, which is never changed and lives as long as the process.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

static REGISTERED: OnceLock<Option<Registered>> = OnceLock::new();

/// Registers the VFS with SQLite. Cheap after the first call.
pub(crate) fn register() -> rusqlite::Result<()> {
    let registered = REGISTERED.get_or_init(|| {
        // SAFETY: both functions may be called at any time; the default VFS is one of SQLite's own and is never freed.
        let system = unsafe {
            if ffi::sqlite3_initialize() != ffi::SQLITE_OK {
                return None;
            }
            ffi::sqlite3_vfs_find(ptr::null())
        };
        // SAFETY: not null means that it points to a VFS.
        let copy = unsafe { system.as_ref()? };
        let tail_at = usize::try_from(copy.szOsFile).ok()?.next_multiple_of(align_of::<CheckedFile>());
        let bytes = c_int::try_from(tail_at + size_of::<CheckedFile>()).ok()?;
        // All methods except `xOpen` are the system's: none of them uses a field of the VFS that differs here.
        let ours = Box::new(sqlite3_vfs {
            szOsFile: bytes,
            zName: NAME.as_ptr(),
            pNext: ptr::null_mut(),
            xOpen: Some(open),
            ..*copy
        });
        // SAFETY: the VFS is leaked, so that it lives as long as the process.
        let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(ours), 0) };
        (code == ffi::SQLITE_OK).then_some(Registered { system, tail_at })
    });
    match registered {
        Some(_) => Ok(()),
        None => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ERROR), None)),
    }
}

/// Reserves bytes for the checksum in each page of a database that this connection (or its `VACUUM INTO`) creates.
pub(crate) fn reserve_bytes(connection: &Connection) -> rusqlite::Result<()> {
    let mut bytes = c_int::from(RESERVED_BYTES);
    let argument = (&raw mut bytes).cast::<c_void>();
    // SAFETY: the connection is open, and the argument is the integer that this operation reads and writes.
    let code = unsafe {
        let operation = ffi::SQLITE_FCNTL_RESERVE_BYTES;
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), operation, argument)
    };
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
}

/// The type of a file with checksums.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Database,
    Log,
}

/// The state of an open file, stored after the state of the system's VFS.
struct CheckedFile {
    /// The system's methods, with this crate's `xRead` and `xWrite`.
    methods: sqlite3_io_methods,
    system: *const sqlite3_io_methods,
    kind: FileKind,
    /// In a transaction that exceeds the cache, SQLite rewrites frames in place and corrects their checksums only at the commit. From
    /// this frame on, checksums are not checked. Only the writing connection reads such frames, so it suffices to record this
    /// here.
    rewritten_from: Option<u64>,
    /// The frame whose header was written last.
    last_header: Option<u64>,
}

impl CheckedFile {
    /// # Safety
    ///
    /// `file` was opened by [`open`]: SQLite gave it `szOsFile` bytes, so that the tail is within them, aligned, and was written
    /// there. SQLite uses a file by one thread at a time.
    unsafe fn of<'a>(file: *mut sqlite3_file) -> Option<&'a mut Self> {
        let registered = REGISTERED.get()?.as_ref()?;
        // SAFETY: as above.
        unsafe { file.cast::<u8>().add(registered.tail_at).cast::<Self>().as_mut() }
    }

    /// Reads exactly `N` bytes with the system's method.
    ///
    /// # Safety
    ///
    /// As [`Self::of`].
    unsafe fn read_exact<const N: usize>(&self, file: *mut sqlite3_file, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let (amount, offset) = (c_int::try_from(N).ok()?, i64::try_from(offset).ok()?);
        // SAFETY: the system's methods are static, and read into a buffer of that size.
        let code =
            unsafe { ((*self.system).xRead?)(file, bytes.as_mut_ptr().cast::<c_void>(), amount, offset) };
        (code == ffi::SQLITE_OK).then_some(bytes)
    }

    /// Whether the page of a frame, which was just read, matches the checksum in the frame's header.
    ///
    /// # Safety
    ///
    /// As [`Self::of`].
    unsafe fn is_intact_frame(&self, file: *mut sqlite3_file, frame: u64, page: &PageBytes) -> bool {
        if self.rewritten_from.is_some_and(|from| frame >= from) {
            return true;
        }
        let at = frame_at(frame);
        let before = if frame == 0 { LOG_HEADER_BYTES as u64 } else { at - PAGE_BYTES as u64 } - 8;
        // SAFETY: as the caller's.
        let found = unsafe {
            (
                self.read_exact::<4>(file, 0),
                self.read_exact::<8>(file, before),
                self.read_exact::<FRAME_HEADER_BYTES>(file, at),
            )
        };
        let (Some(magic), Some(before), Some(header)) = found else { return false };
        page::is_intact_frame(before, &header, page, magic[3] & 1 == 1)
    }

    /// Tracks the writes to the log, see [`Self::rewritten_from`].
    fn note_log_write(&mut self, amount: usize, offset: u64) {
        let Some(behind) = offset.checked_sub(LOG_HEADER_BYTES as u64) else { return };
        let (frame, within) = (behind / FRAME_BYTES, behind % FRAME_BYTES);
        if within == 0 && amount >= FRAME_HEADER_BYTES {
            self.last_header = Some(frame);
            if self.rewritten_from.is_some_and(|from| frame <= from) {
                self.rewritten_from = None;
            }
        } else if within == FRAME_HEADER_BYTES as u64
            && amount == PAGE_BYTES
            && self.last_header != Some(frame)
        {
            self.rewritten_from = Some(self.rewritten_from.map_or(frame, |from| from.min(frame)));
        }
        if within != 0 {
            self.last_header = None;
        }
    }
}

/// Where the header of a frame begins.
fn frame_at(frame: u64) -> u64 {
    LOG_HEADER_BYTES as u64 + frame * FRAME_BYTES
}

/// The number of the page at an offset of a database file, if the access is to exactly one page.
fn page_number(amount: c_int, offset: i64) -> Option<u32> {
    let (amount, offset) = (usize::try_from(amount).ok()?, u64::try_from(offset).ok()?);
    let is_page = amount == PAGE_BYTES && offset % PAGE_BYTES as u64 == 0;
    u32::try_from(offset / PAGE_BYTES as u64 + 1).ok().filter(|_| is_page)
}

/// The frame whose page is at an offset of a log, if the read is of exactly one page.
fn frame_number(amount: c_int, offset: i64) -> Option<u64> {
    let behind = u64::try_from(offset).ok()?.checked_sub((LOG_HEADER_BYTES + FRAME_HEADER_BYTES) as u64)?;
    let is_page = usize::try_from(amount).ok()? == PAGE_BYTES && behind % FRAME_BYTES == 0;
    is_page.then_some(behind / FRAME_BYTES)
}

unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let Some(Some(registered)) = REGISTERED.get() else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: the arguments are SQLite's, passed on unchanged, and the VFS is the one that the method belongs to.
    let code = unsafe {
        let Some(system_open) = (*registered.system).xOpen else { return ffi::SQLITE_CANTOPEN };
        system_open(registered.system, name, file, flags, flags_out)
    };
    let kind = if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
        FileKind::Database
    } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
        FileKind::Log
    } else {
        return code;
    };
    // SAFETY: SQLite gives `szOsFile` bytes, so that the tail is within them, aligned. If the system's VFS cannot open
    // the file, it sets no methods, and SQLite does not use the file.
    unsafe {
        let system = (*file).pMethods;
        if code != ffi::SQLITE_OK || system.is_null() {
            return code;
        }
        let tail = file.cast::<u8>().add(registered.tail_at).cast::<CheckedFile>();
        let methods = sqlite3_io_methods {
            // Without `xFetch`: mapped memory would bypass the checksums.
            iVersion: (*system).iVersion.min(2),
            xRead: Some(read),
            xWrite: Some(write),
            ..*system
        };
        tail.write(CheckedFile { methods, system, kind, rewritten_from: None, last_header: None });
        (*file).pMethods = &raw const (*tail).methods;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut sqlite3_file, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls this for files that `open` opened.
    let Some(tail) = (unsafe { CheckedFile::of(file) }) else { return ffi::SQLITE_IOERR_READ };
    // SAFETY: the arguments are SQLite's, passed on unchanged.
    let code = unsafe {
        let Some(system_read) = (*tail.system).xRead else { return ffi::SQLITE_IOERR_READ };
        system_read(file, buffer, amount, offset)
    };
    // A missing page is read as zeros with this code; it counts as damaged.
    if code != ffi::SQLITE_OK && code != ffi::SQLITE_IOERR_SHORT_READ {
        return code;
    }
    // SAFETY: a read of a whole page has a buffer of that size, which has just been filled.
    let page = || unsafe { &*buffer.cast::<PageBytes>() };
    let is_intact = match tail.kind {
        FileKind::Database => {
            page_number(amount, offset).is_none_or(|number| page::is_intact(page(), number))
        }
        FileKind::Log => frame_number(amount, offset).is_none_or(|frame| {
            // SAFETY: as above.
            unsafe { tail.is_intact_frame(file, frame, page()) }
        }),
    };
    if is_intact { code } else { ffi::SQLITE_IOERR_DATA }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls this for files that `open` opened.
    let Some(tail) = (unsafe { CheckedFile::of(file) }) else { return ffi::SQLITE_IOERR_WRITE };
    // SAFETY: the system's methods are static.
    let Some(system_write) = (unsafe { (*tail.system).xWrite }) else { return ffi::SQLITE_IOERR_WRITE };
    let number = match tail.kind {
        FileKind::Database => page_number(amount, offset),
        FileKind::Log => {
            if let (Ok(amount), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) {
                tail.note_log_write(amount, offset);
            }
            None
        }
    };
    let Some(number) = number else {
        // SAFETY: the arguments are SQLite's, passed on unchanged.
        return unsafe { system_write(file, buffer, amount, offset) };
    };
    // SAFETY: a write of a whole page has a buffer of that size.
    let mut page: PageBytes = unsafe { *buffer.cast::<PageBytes>() };
    if number == 1 && page[RESERVED_AT] != RESERVED_BYTES {
        // Its last bytes are data: it was created without `reserve_bytes` and must not be written with this VFS.
        return ffi::SQLITE_IOERR_WRITE;
    }
    page::set_checksum(&mut page, number);
    // SAFETY: as above, with a buffer of the same size.
    unsafe { system_write(file, page.as_ptr().cast::<c_void>(), amount, offset) }
}
