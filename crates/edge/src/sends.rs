//! [`Sends`]: writes to many plain sockets in few system calls.

#[cfg(target_os = "linux")]
mod ring;

use std::io::{self, Write};

use crate::Socket;

/// Writes to many sockets: by io_uring where the kernel has it and lets us, one by one elsewhere.
///
/// Made on any thread, used on one: the first use binds it to its thread.
#[derive(Debug)]
pub struct Sends {
    kernel: Kernel,
}

#[derive(Debug)]
enum Kernel {
    /// Nobody has asked yet.
    #[cfg(target_os = "linux")]
    Unasked,
    #[cfg(target_os = "linux")]
    Ring(Box<ring::Ring>),
    /// Each write is a system call of its own.
    Single,
}

/// From so many sends on, setting a ring in motion costs less than it saves.
const BATCH_MIN: usize = 8;

impl Sends {
    /// A way to send; `io_uring` says whether that may be tried.
    #[must_use]
    pub fn new(io_uring: bool) -> Self {
        #[cfg(target_os = "linux")]
        if io_uring {
            return Self { kernel: Kernel::Unasked };
        }
        // Elsewhere there is nothing that it could switch on.
        let _ = io_uring;
        Self { kernel: Kernel::Single }
    }

    /// Whether a socket's bytes can go out this way: of TLS, each socket makes its own.
    #[must_use]
    pub fn takes(socket: &Socket) -> bool {
        socket.as_plain().is_some()
    }

    /// Writes to each socket as much as it takes now, and puts into `results` what [`Socket::try_write`] would have said, in the
    /// same order. A socket that [`Sends::takes`] refuses gets `Unsupported`.
    pub fn send_all<'a>(
        &mut self,
        sends: impl ExactSizeIterator<Item = (&'a Socket, &'a [u8])> + Clone,
        results: &mut Vec<io::Result<usize>>,
    ) {
        results.clear();
        #[cfg(target_os = "linux")]
        if sends.len() >= BATCH_MIN {
            if matches!(self.kernel, Kernel::Unasked) {
                self.kernel = ring::Ring::new().map_or_else(
                    |error| {
                        tracing::debug!(%error, "the kernel has no io_uring for us; sockets are written to one by one");
                        Kernel::Single
                    },
                    |ring| Kernel::Ring(Box::new(ring)),
                );
            }
            if let Kernel::Ring(ring) = &mut self.kernel {
                if let Err(error) = ring.send_all(sends.clone(), results) {
                    tracing::error!(%error, "io_uring failed; sockets are written to one by one from now on");
                    self.kernel = Kernel::Single;
                }
                for ((socket, bytes), result) in sends.zip(results) {
                    if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
                        *result = send(socket, bytes);
                    }
                }
                return;
            }
        }
        results.extend(sends.map(|(socket, bytes)| send(socket, bytes)));
    }
}

fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    let mut stream = socket.as_plain().ok_or(io::ErrorKind::Unsupported)?;
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, Socket::from_std(listener.accept().unwrap().0).unwrap())
    }

    fn check(mut sends: Sends, count: usize) {
        let (mut clients, sockets): (Vec<TcpStream>, Vec<Socket>) = (0..count).map(|_| pair()).unzip();
        let texts: Vec<String> = (0..count).map(|number| format!("to {number}")).collect();
        let mut results = Vec::new();
        // A second time over the same ring.
        for _ in 0..2 {
            sends.send_all(sockets.iter().zip(texts.iter().map(String::as_bytes)), &mut results);
            for ((client, text), result) in clients.iter_mut().zip(&texts).zip(&results) {
                assert_eq!(result.as_ref().unwrap(), &text.len());
                let mut received = vec![0; text.len()];
                client.read_exact(&mut received).unwrap();
                assert_eq!(received, text.as_bytes());
            }
        }
    }

    #[test]
    fn each_socket_gets_its_own_bytes() {
        crate::raise_open_files().unwrap();
        for io_uring in [true, false] {
            for count in [0, 1, BATCH_MIN, 300] {
                check(Sends::new(io_uring), count);
            }
        }
        // More than fit into a ring at once.
        check(Sends::new(true), 1_500);
    }

    #[test]
    fn a_full_socket_and_one_that_is_gone_say_so_as_a_write_does() {
        for io_uring in [true, false] {
            let (mut clients, sockets): (Vec<TcpStream>, Vec<Socket>) =
                (0..BATCH_MIN).map(|_| pair()).unzip();
            let large = vec![0; 64 << 20];
            let mut results = Vec::new();
            let mut sends = Sends::new(io_uring);
            let all = |socket| (socket, large.as_slice());
            sends.send_all(sockets.iter().map(all), &mut results);
            assert!(
                results
                    .iter()
                    .all(|result| matches!(result, Ok(1..) if *result.as_ref().unwrap() < large.len()))
            );
            sends.send_all(sockets.iter().map(all), &mut results);
            let is_full = |result: &io::Result<usize>| {
                result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            };
            assert!(results.iter().all(is_full), "{results:?}");
            // With bytes unread, its end is a reset, and no signal.
            drop(clients.remove(0));
            let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
            loop {
                sends.send_all(sockets.iter().map(all), &mut results);
                if !is_full(&results[0]) {
                    break;
                }
                assert!(std::time::Instant::now() < patience, "the reset never came");
                std::thread::yield_now();
            }
            assert!(results[0].is_err());
            assert!(results[1..].iter().all(is_full), "{results:?}");
        }
    }
}
