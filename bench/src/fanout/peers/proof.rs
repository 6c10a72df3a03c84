//! `bench peers`: verifies that each peer delivers to every client exactly what was published.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::{MARK, Peer, PeerControl, Prepared, RunningPeer, open, payload_bytes, prepare};
use crate::fanout::allow_files;

/// Messages of one burst: one at a time, and enough that a peer may combine them.
const BURSTS: [u32; 2] = [1, 16];

/// Longest wait for a client's messages.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that arrives within this time after all messages is an error.
const QUIET: Duration = Duration::from_millis(200);

/// Flags of `bench peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this peer; repeat the flag for several
    #[arg(long)]
    peer: Vec<Peer>,
    /// Connected clients, all in one group
    #[arg(long, default_value_t = 50)]
    clients: u32,
    /// Size of a frame with one message, head included, in bytes
    #[arg(long, default_value_t = 130)]
    frame_bytes: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    allow_files(u64::from(args.clients) + 100)?;
    let peers = if args.peer.is_empty() { Peer::value_variants() } else { &args.peer };
    let mut failed = 0;
    for peer in peers {
        // A peer that cannot run here does not fail the others, nor the command.
        let prepared = match prepare(*peer) {
            Ok(prepared) => prepared,
            Err(error) => {
                println!("{}: not run: {error:#}", peer.name());
                continue;
            }
        };
        match prove(args, *peer, &prepared) {
            Ok(joined) => println!(
                "{}: {} clients, {} messages, all arrived{joined}",
                prepared.describe(),
                args.clients,
                BURSTS.map(|burst| burst.to_string()).join(" and ")
            ),
            Err(error) => {
                println!("{}: FAILED: {error:#}", prepared.describe());
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} peers do not deliver what they should");
    }
    Ok(())
}

/// Returns a remark on the combined frames.
fn prove(args: &Args, peer: Peer, prepared: &Prepared) -> anyhow::Result<String> {
    let running = prepared.start(args.frame_bytes)?;
    let mut control = PeerControl::open(peer, running.control, args.frame_bytes)?;
    let mut clients = connect(args, peer, &running)?;
    let joined = control.joined()?;
    if joined != u64::from(args.clients) {
        bail!("{joined} clients of {} are in the group", args.clients);
    }
    let mut frames = 0;
    for burst in BURSTS {
        control.publish(burst)?;
        frames = 0;
        for (number, client) in clients.iter_mut().enumerate() {
            let bytes = receive(client, burst).with_context(|| format!("client {number}, burst {burst}"))?;
            frames += check(&bytes, peer, burst, args.frame_bytes)
                .with_context(|| format!("client {number}, burst {burst}"))?;
        }
    }
    std::thread::sleep(QUIET);
    for client in &mut clients {
        client.set_nonblocking(true)?;
        match client.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => bail!("a client got more than was published, or was sent away"),
        }
    }
    if peer.joined_max() == 1 {
        return Ok(String::new());
    }
    Ok(format!(
        ", the last {} in {:.1} frames a client",
        BURSTS[1],
        f64::from(frames) / f64::from(args.clients)
    ))
}

/// All clients; each is in the group.
fn connect(args: &Args, peer: Peer, running: &RunningPeer) -> anyhow::Result<Vec<TcpStream>> {
    let mut clients = Vec::new();
    for _ in 0..args.clients {
        let mut stream = TcpStream::connect(running.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        open(peer, &mut stream, &running.address.to_string())?;
        clients.push(stream);
    }
    Ok(clients)
}

/// Reads until this many messages have arrived.
fn receive(client: &mut TcpStream, burst: u32) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 * 1024];
    let mut marks = 0;
    while marks < burst as usize {
        let length = client.read(&mut part).with_context(|| format!("{marks} of {burst} messages came"))?;
        if length == 0 {
            bail!("the peer closed the connection");
        }
        marks += part[..length].iter().filter(|byte| **byte == MARK).count();
        bytes.extend_from_slice(&part[..length]);
    }
    // The mark is near the start of a message: the rest may still be on the way.
    while !ends_with_a_frame(&bytes)? {
        let length = client.read(&mut part).context("the last frame is not whole")?;
        bytes.extend_from_slice(&part[..length]);
    }
    Ok(bytes)
}

fn ends_with_a_frame(bytes: &[u8]) -> anyhow::Result<bool> {
    Ok(frames(bytes)?.1.is_empty())
}

/// Lengths of the frames, heads included, and the bytes after the last complete one.
fn frames(mut bytes: &[u8]) -> anyhow::Result<(Vec<usize>, &[u8])> {
    let mut lengths = Vec::new();
    loop {
        let length = match bytes {
            [0x81, length @ 0..=125, ..] => 2 + usize::from(*length),
            [0x81, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            [0x81, 127, _, _, _, _, a, b, c, d, ..] => 10 + u32::from_be_bytes([*a, *b, *c, *d]) as usize,
            [] | [0x81] | [0x81, 126 | 127, ..] => return Ok((lengths, bytes)),
            _ => bail!("what came is no text frame"),
        };
        let Some(rest) = bytes.get(length..) else { return Ok((lengths, bytes)) };
        lengths.push(length);
        bytes = rest;
    }
}

/// Whether these are the frames of a burst; returns their number.
fn check(bytes: &[u8], peer: Peer, burst: u32, frame_bytes: usize) -> anyhow::Result<u32> {
    let marks = bytes.iter().filter(|byte| **byte == MARK).count();
    if marks != burst as usize {
        bail!("{marks} messages came");
    }
    let (lengths, _) = frames(bytes)?;
    if peer.joined_max() == 1 || burst == 1 {
        if lengths != vec![frame_bytes; burst as usize] {
            bail!("frames of {lengths:?} bytes came");
        }
    } else {
        // Every message, and every line end between two messages of a frame, is counted, whatever was combined.
        let heads: usize =
            lengths.iter().map(|length| length - payload_bytes(*length).unwrap_or_default()).sum();
        let messages = burst as usize * payload_bytes(frame_bytes)?;
        if bytes.len() != heads + messages + burst as usize - lengths.len() {
            bail!("{} bytes came in {} frames", bytes.len(), lengths.len());
        }
    }
    Ok(u32::try_from(lengths.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::peers::frame_head;

    fn frame(payload: &str) -> Vec<u8> {
        [frame_head(payload.len()), payload.as_bytes().to_vec()].concat()
    }

    #[test]
    fn missing_and_surplus_messages_are_detected() {
        let text = Peer::Ws.text(130).expect("the length can be");
        let one = frame(&text);
        assert_eq!(check(&one.repeat(2), Peer::Ws, 2, 130).expect("both came"), 2);
        assert!(check(&one, Peer::Ws, 2, 130).is_err());
        assert!(check(&one.repeat(3), Peer::Ws, 2, 130).is_err());
        assert!(check(&frame(&text[..100]).repeat(2), Peer::Ws, 2, 130).is_err());
    }

    #[test]
    fn messages_in_one_frame_are_counted() {
        let [before, after] = Peer::Centrifugo.around();
        let text = Peer::Centrifugo.text(130).expect("the length can be");
        let one = [before, &text, after].concat();
        let joined = frame(&[one.as_str(); 3].join("\n"));
        let bytes = [joined.clone(), frame(&one)].concat();
        assert_eq!(check(&bytes, Peer::Centrifugo, 4, 130).expect("all came"), 2);
        assert!(check(&bytes, Peer::Centrifugo, 5, 130).is_err());
        assert!(!ends_with_a_frame(&joined[..50]).expect("a part of a frame"));
        assert!(ends_with_a_frame(&bytes).expect("whole frames"));
    }
}
