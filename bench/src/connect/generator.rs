//! The clients and the app that adds them to groups: one thread; a fixed number of clients connect at the same time.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::{Events, Interest, Poll, Token};

use super::Sample;
use super::client::{Client, Next, PublishPath, Stream, answered};
use super::kind::FILES;
use super::server::{Control, Question};
use crate::core_time::{CoreClock, processor};
use crate::fanout::{allow_files, pin};

/// Flags of the hidden command `connect-generator`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    control: SocketAddr,
    /// Clients that connect at the same time
    #[arg(long)]
    under_way: usize,
    /// The certificate authority to trust; if it is set, TLS is used
    #[arg(long)]
    authority: Option<PathBuf>,
}

/// Connections that the app keeps open for its requests.
const APP_CONNECTIONS: usize = 4;

const PATIENCE: Duration = Duration::from_secs(30);

/// How long the server stays idle after all clients were closed.
const REST: Duration = Duration::from_millis(200);

/// One connection of the app, and the client that it adds to a group now.
struct App {
    stream: Stream,
    client: Option<usize>,
    answer: Vec<u8>,
}

struct Generator {
    clock: CoreClock,
    path: PublishPath,
    control: Control,
    poll: Poll,
    buffer: Vec<u8>,
    under_way: usize,
    clients: Vec<Client>,
    apps: Vec<App>,
    /// Clients that wait for a free connection of the app.
    waiting: VecDeque<usize>,
    joined: usize,
    /// Whether connected clients close the connection on which they negotiated, as browsers do some time later. Later clients then reuse
    /// the memory; if all connections were closed together at the end, that memory would count for the clients that remain.
    hangs_up: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let clock = CoreClock::new(processor(0)?)?;
    pin(1)?;
    allow_files(FILES)?;
    let mut generator = Generator {
        clock,
        path: PublishPath::new(args.address, args.authority.as_deref())?,
        control: Control::connect(args.control)?,
        poll: Poll::new()?,
        buffer: vec![0; 64 * 1024],
        under_way: args.under_way,
        clients: Vec::new(),
        apps: Vec::new(),
        waiting: VecDeque::new(),
        joined: 0,
        hangs_up: false,
    };
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let command = words.next().unwrap_or_default();
        let mut number = || -> anyhow::Result<u32> { Ok(words.next().context("a number")?.parse()?) };
        match command {
            "sample" => println!("{}", serde_json::to_string(&generator.sample(number()?)?)?),
            "hold" => {
                generator.hangs_up = true;
                generator.connect(number()?)?;
                // The server would close them during the following measurement.
                generator.apps.clear();
                println!("{}", generator.clients.len());
            }
            "memory" => println!("{}", generator.control.ask(Question::Memory)?[0]),
            _ => bail!("an unknown command: {line}"),
        }
    }
    Ok(())
}

impl Generator {
    fn open_apps(&mut self) -> anyhow::Result<()> {
        for number in 0..APP_CONNECTIONS {
            let mut stream = self.path.open()?;
            self.poll.registry().register(stream.source(), app_token(number), Interest::READABLE)?;
            self.apps.push(App { stream, client: None, answer: Vec::new() });
        }
        Ok(())
    }

    /// Connects clients, measures the server's cost, and closes them again.
    fn sample(&mut self, count: u32) -> anyhow::Result<Sample> {
        self.clock.start()?;
        self.connect(count)?;
        let core = self.clock.stop()?;
        let [held, _] = self.control.ask(Question::Held)?;
        if held != u64::from(count) {
            bail!("the server holds {held} clients of {count}");
        }
        self.leave()?;
        Ok(Sample { clients: count, core })
    }

    /// Connects this many more clients, and adds each to its group.
    fn connect(&mut self, count: u32) -> anyhow::Result<()> {
        if self.apps.is_empty() {
            self.open_apps()?;
        }
        let first = u32::try_from(self.clients.len())?;
        self.clients.extend((first..first + count).map(Client::new));
        let all = self.clients.len();
        let mut next = all - count as usize;
        self.joined = next;
        let mut events = Events::with_capacity(256);
        let mut last = Instant::now();
        while self.joined < all {
            while next < all && next - self.joined < self.under_way {
                self.start(next)?;
                next += 1;
            }
            // Without sleep: a sender to a sleeping process pays for waking it, which does not happen with a network card, and the slower
            // server would pay more often.
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                last = Instant::now();
            } else if last.elapsed() > PATIENCE {
                bail!("{} of {all} clients are there, and nothing happens any more", self.joined);
            }
            for event in &events {
                self.on_event(event.token())?;
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let mut stream = self.path.open()?;
        self.poll.registry().register(stream.source(), client_token(index), Interest::READABLE)?;
        self.clients[index].negotiate(stream)
    }

    fn on_event(&mut self, token: Token) -> anyhow::Result<()> {
        match token.0.checked_sub(APP_CONNECTIONS) {
            Some(index) => self.on_client(index),
            None => self.on_app(token.0),
        }
    }

    fn on_client(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        match client.ready(&mut self.buffer)? {
            Next::Bytes => Ok(()),
            Next::Socket => {
                let mut stream = self.path.open()?;
                self.poll.registry().register(stream.source(), client_token(index), Interest::READABLE)?;
                client.upgrade(stream)
            }
            Next::Group => {
                self.waiting.push_back(index);
                match self.apps.iter().position(|app| app.client.is_none()) {
                    Some(app) => self.ask(app),
                    None => Ok(()),
                }
            }
        }
    }

    fn on_app(&mut self, number: usize) -> anyhow::Result<()> {
        let app = &mut self.apps[number];
        loop {
            let length = app.stream.hear(&mut self.buffer)?;
            if length == 0 {
                return Ok(());
            }
            app.answer.extend_from_slice(&self.buffer[..length]);
            match answered(&app.answer)? {
                None => {}
                Some(200) => break,
                Some(_) => bail!("a join was answered {}", String::from_utf8_lossy(&app.answer)),
            }
        }
        app.answer.clear();
        let client = app.client.take();
        if let Some(client) = client.filter(|_| self.hangs_up) {
            self.clients[client].negotiating.take().map_or(Ok(()), Stream::cut)?;
        }
        self.joined += 1;
        self.ask(number)
    }

    /// Adds the next client to its group, on one connection of the app.
    fn ask(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(index) = self.waiting.pop_front() else { return Ok(()) };
        let app = &mut self.apps[number];
        app.client = Some(index);
        app.stream.say(self.clients[index].join().as_bytes())
    }

    /// Closes all clients, and waits until the server has closed them too.
    fn leave(&mut self) -> anyhow::Result<()> {
        for client in &mut self.clients {
            for stream in [client.negotiating.take(), client.socket.take()].into_iter().flatten() {
                stream.cut()?;
            }
        }
        self.clients.clear();
        let began = Instant::now();
        loop {
            let [held, open] = self.control.ask(Question::Held)?;
            let [came, went] = self.control.ask(Question::Told)?;
            if held == 0 && open <= APP_CONNECTIONS as u64 && came == went {
                break;
            }
            if began.elapsed() > PATIENCE {
                bail!("{held} clients and {open} connections are left, {went} of {came} ends were told");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(REST);
        Ok(())
    }
}

fn app_token(number: usize) -> Token {
    Token(number)
}

fn client_token(index: usize) -> Token {
    Token(index + APP_CONNECTIONS)
}
