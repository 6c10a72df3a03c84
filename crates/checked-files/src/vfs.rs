//! The checksum layer below SQLite: a VFS (<https://www.sqlite.org/vfs.html>) that is the system's own, except that pages of
//! database files are sealed when they are written and compared when they are read, and frames of write-ahead logs are
//! compared when they are read. What does not agree is answered with `SQLITE_IOERR_DATA`, and never reaches a query.
#![allow(
    unsafe_code,
    reason = "SQLite calls a VFS through C function pointers. `Tail::of` says why the pointers that come in are valid"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::Connection;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

use crate::page::{
    self, FRAME_HEADER_BYTES, LOG_HEADER_BYTES, PAGE_BYTES, Page, RESERVED_AT, RESERVED_BYTES,
};

/// The name by which connections ask for it.
pub(crate) const NAME: &CStr = c"chappe-checked";

/// Bytes of a frame with its header.
const FRAME_BYTES: u64 = (FRAME_HEADER_BYTES + PAGE_BYTES) as u64;

/// The system's VFS, and where our part of a file's memory begins.
struct Registered {
    system: *mut sqlite3_vfs,
    tail_at: usize,
}

// SAFETY: the pointer is that of a VFS of SQLite's own, which is never changed and lives as long as the process.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

static REGISTERED: OnceLock<Option<Registered>> = OnceLock::new();

/// Makes SQLite know the VFS. Cheap after the first time.
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
        let tail_at = usize::try_from(copy.szOsFile).ok()?.next_multiple_of(align_of::<Tail>());
        let bytes = c_int::try_from(tail_at + size_of::<Tail>()).ok()?;
        // All methods but `xOpen` stay the system's own: none of them looks at anything of the VFS that differs here.
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

/// Lets a database that is made through this connection (or by `VACUUM INTO`) keep bytes for the checksum in each page.
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Database,
    Log,
}

/// What we keep of an open file, behind what the system's VFS keeps.
struct Tail {
    /// The system's methods, with our own for reading and writing.
    methods: sqlite3_io_methods,
    system: *const sqlite3_io_methods,
    kind: Kind,
    /// In a transaction that is larger than the cache SQLite writes frames of its own again in place, and makes up for their
    /// checksums only when it commits. From this frame on, checksums are not to be compared. Only the writer's own
    /// connection reads such frames, so that it is enough to note it here.
    rewritten_from: Option<u64>,
    /// The frame whose header was written last.
    last_header: Option<u64>,
}

impl Tail {
    /// # Safety
    ///
    /// `file` was opened by [`open`]: SQLite gave it `szOsFile` bytes, so that the tail is within them, aligned, and was written
    /// there. SQLite uses a file by one thread at a time.
    unsafe fn of<'a>(file: *mut sqlite3_file) -> Option<&'a mut Self> {
        let registered = REGISTERED.get()?.as_ref()?;
        // SAFETY: as above.
        unsafe { file.cast::<u8>().add(registered.tail_at).cast::<Self>().as_mut() }
    }

    /// Reads exactly `N` bytes by the system's method.
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

    /// Whether the page of a frame, which was just read, belongs to the frame's header.
    ///
    /// # Safety
    ///
    /// As [`Self::of`].
    unsafe fn is_sound_frame(&self, file: *mut sqlite3_file, frame: u64, page: &Page) -> bool {
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
        page::is_sound_frame(before, &header, page, magic[3] & 1 == 1)
    }

    /// Follows what SQLite writes into the log, see [`Self::rewritten_from`].
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

/// The number of the page at an offset of a database file, if a read or write is one of a whole page.
fn page_number(amount: c_int, offset: i64) -> Option<u32> {
    let (amount, offset) = (usize::try_from(amount).ok()?, u64::try_from(offset).ok()?);
    let is_page = amount == PAGE_BYTES && offset % PAGE_BYTES as u64 == 0;
    u32::try_from(offset / PAGE_BYTES as u64 + 1).ok().filter(|_| is_page)
}

/// The frame whose page is at an offset of a log, if a read is one of a whole page.
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
    // SAFETY: the arguments are SQLite's, handed on as they came, and the VFS is the one that the method belongs to.
    let code = unsafe {
        let Some(system_open) = (*registered.system).xOpen else { return ffi::SQLITE_CANTOPEN };
        system_open(registered.system, name, file, flags, flags_out)
    };
    let kind = if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
        Kind::Database
    } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
        Kind::Log
    } else {
        return code;
    };
    // SAFETY: SQLite gives `szOsFile` bytes, so that the tail is within them, aligned. Where the system's VFS could not open
    // the file, it leaves no methods, and SQLite does not use the file.
    unsafe {
        let system = (*file).pMethods;
        if code != ffi::SQLITE_OK || system.is_null() {
            return code;
        }
        let tail = file.cast::<u8>().add(registered.tail_at).cast::<Tail>();
        let methods = sqlite3_io_methods {
            // Without `xFetch`: memory that is mapped would pass by the checksums.
            iVersion: (*system).iVersion.min(2),
            xRead: Some(read),
            xWrite: Some(write),
            ..*system
        };
        tail.write(Tail { methods, system, kind, rewritten_from: None, last_header: None });
        (*file).pMethods = &raw const (*tail).methods;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut sqlite3_file, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls this for files that `open` opened.
    let Some(tail) = (unsafe { Tail::of(file) }) else { return ffi::SQLITE_IOERR_READ };
    // SAFETY: the arguments are SQLite's, handed on as they came.
    let code = unsafe {
        let Some(system_read) = (*tail.system).xRead else { return ffi::SQLITE_IOERR_READ };
        system_read(file, buffer, amount, offset)
    };
    // A page that is missing comes as zeros with this code, and counts as damaged.
    if code != ffi::SQLITE_OK && code != ffi::SQLITE_IOERR_SHORT_READ {
        return code;
    }
    // SAFETY: a read of a whole page has a buffer of that size, which has just been filled.
    let page = || unsafe { &*buffer.cast::<Page>() };
    let is_sound = match tail.kind {
        Kind::Database => page_number(amount, offset).is_none_or(|number| page::is_sound(page(), number)),
        Kind::Log => frame_number(amount, offset).is_none_or(|frame| {
            // SAFETY: as above.
            unsafe { tail.is_sound_frame(file, frame, page()) }
        }),
    };
    if is_sound { code } else { ffi::SQLITE_IOERR_DATA }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls this for files that `open` opened.
    let Some(tail) = (unsafe { Tail::of(file) }) else { return ffi::SQLITE_IOERR_WRITE };
    // SAFETY: the system's methods are static.
    let Some(system_write) = (unsafe { (*tail.system).xWrite }) else { return ffi::SQLITE_IOERR_WRITE };
    let number = match tail.kind {
        Kind::Database => page_number(amount, offset),
        Kind::Log => {
            if let (Ok(amount), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) {
                tail.note_log_write(amount, offset);
            }
            None
        }
    };
    let Some(number) = number else {
        // SAFETY: the arguments are SQLite's, handed on as they came.
        return unsafe { system_write(file, buffer, amount, offset) };
    };
    // SAFETY: a write of a whole page has a buffer of that size.
    let mut page: Page = unsafe { *buffer.cast::<Page>() };
    if number == 1 && page[RESERVED_AT] != RESERVED_BYTES {
        // Its last bytes are data. It was made without `reserve_bytes`, and must not be written here.
        return ffi::SQLITE_IOERR_WRITE;
    }
    page::seal(&mut page, number);
    // SAFETY: as above, with a buffer of the same size.
    unsafe { system_write(file, page.as_ptr().cast::<c_void>(), amount, offset) }
}
