//! Finds the process that listens on a port, if the operating system reports it: Linux does under `/proc`; on other systems the
//! result is `None`.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// Its process id.
    pub pid: u32,
    /// Its command line, at most 100 characters of it, without control characters.
    pub command: String,
}

/// Longest command line that is shown, in characters.
const COMMAND_CHARS_MAX: usize = 100;

/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN` of the kernel's `tcp_states.h`).
const LISTENING: &str = "0A";

impl PortOwner {
    /// Finds the process that listens on `port`. `None` if it is not visible: it belongs to another user or container, or the
    /// system has no `/proc`.
    pub(crate) fn find(port: u16) -> Option<Self> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let inodes: Vec<String> = tables
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| listening_inodes(&table, port))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        if inodes.is_empty() {
            return None;
        }
        let processes = fs::read_dir("/proc").ok()?;
        processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).find_map(|pid: u32| {
            let folder = Path::new("/proc").join(pid.to_string());
            let files = fs::read_dir(folder.join("fd")).ok()?;
            let mut names = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
            let holds =
                names.any(|name| name.to_str().is_some_and(|name| inodes.iter().any(|inode| inode == name)));
            holds.then(|| Self { pid, command: command(&folder) })
        })
    }
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// Inodes of the sockets in a table of the kernel (`proc_pid_net(5)`) that listen on `port`. The second column is the local
/// address, the fourth the state, the tenth the inode.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let end = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| {
        row.get(1).is_some_and(|local| local.ends_with(&end))
            && row.get(3).is_some_and(|state| *state == LISTENING)
    })
    .filter_map(|row| row.get(9).map(|inode| (*inode).to_owned()))
    .collect()
}

fn command(folder: &Path) -> String {
    let line = fs::read(folder.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let line = line.trim();
    if line.is_empty() {
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        return printable(name.trim());
    }
    printable(line)
}

/// Text of another program is written to our log: without control characters, and truncated.
fn printable(text: &str) -> String {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).take(COMMAND_CHARS_MAX + 1).collect();
    if kept.chars().count() > COMMAND_CHARS_MAX {
        kept.pop();
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0000000000000000 20
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100
   3: torn row
";

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        assert_eq!(listening_inodes(TABLE, 8080), ["4711"]);
        assert_eq!(listening_inodes(TABLE, 8081), ["4713"]);
        assert!(listening_inodes(TABLE, 80).is_empty());
        assert!(listening_inodes("", 8080).is_empty());
    }

    #[test]
    fn command_lines_are_truncated_and_without_control_characters() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a[31mbc");
        let long = printable(&"x".repeat(1000));
        assert_eq!(long.chars().count(), COMMAND_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
    }
}
