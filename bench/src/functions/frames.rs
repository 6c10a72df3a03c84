//! The worker's own limit: our Node.js worker, fed with frames of invocations by a loop that does nothing else. No host over this
//! protocol can be faster on the same processor.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::BufMut;
use worker_protocol::frames::{FrameDecoder, StartStream, decode_worker, encode_host};
use worker_protocol::{
    Capabilities, Chunk, FunctionId, HostMessage, InitRequest, InvocationId, InvocationRequest, LoadRequest,
    ParameterBinding, RpcHttp, RpcTraceContext, Status, TypedData, WorkerMessage,
};

use super::process::{Process, processor_time_ns};
use super::sample::Sample;

/// Largest frame.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// The worker with its connection, ready for invocations.
pub(super) struct BareGenerator {
    process: Process,
    stream: UnixStream,
    decoder: FrameDecoder,
    function: FunctionId,
    /// Name of the trigger's binding.
    trigger: String,
    invocations: u64,
    _folder: tempfile::TempDir,
}

impl BareGenerator {
    /// Starts the worker of `worker` (its folder) with the app of `app`.
    pub(super) fn start(worker: &Path, app: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("worker");
        let listener = UnixListener::bind(&path)?;
        let start = StartStream { token: "token".to_owned(), worker_id: "worker".to_owned() };
        let process = Process::start(
            Command::new("node")
                .arg(worker.join("main.js"))
                .current_dir(app)
                .env("CHAPPE_WORKER_ADDRESS", &path)
                .env("CHAPPE_WORKER_TOKEN", &start.token)
                .env("CHAPPE_WORKER_ID", &start.worker_id)
                .env("CHAPPE_WORKER_FRAME_BYTES_MAX", FRAME_BYTES_MAX.to_string()),
        )?;
        let (mut stream, _) = listener.accept()?;
        let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
        let first = loop {
            if let Some(frame) = decoder.next_frame()? {
                break frame;
            }
            read_more(&mut stream, &mut decoder)?;
        };
        if StartStream::decode(&first)? != start {
            bail!("something else than the worker connected");
        }
        let function = FunctionId::default();
        let mut own = Self {
            process,
            stream,
            decoder,
            function,
            trigger: String::new(),
            invocations: 0,
            _folder: folder,
        };
        own.load(app)?;
        Ok(own)
    }

    fn load(&mut self, app: &Path) -> anyhow::Result<()> {
        let directory = app.to_str().context("the app's folder has a name in Unicode")?.to_owned();
        self.send(HostMessage::Init(InitRequest {
            host_version: "4.0.0".to_owned(),
            capabilities: Capabilities::default(),
            function_app_directory: directory.clone(),
            ..InitRequest::default()
        }))?;
        self.send(HostMessage::Metadata { function_app_directory: directory })?;
        let metadata = loop {
            if let WorkerMessage::Metadata(metadata) = self.receive()? {
                break metadata;
            }
        };
        let function = metadata.functions.into_iter().next().context("the app registers a function")?;
        let binding: serde_json::Value =
            serde_json::from_str(function.raw_bindings.first().context("a function has bindings")?)?;
        self.trigger = binding["name"].as_str().context("a binding has a name")?.to_owned();
        self.function = function.function_id.clone();
        let function_id = self.function.clone();
        self.send(HostMessage::Load(LoadRequest { function_id, metadata: function }))?;
        while !matches!(self.receive()?, WorkerMessage::Load(_)) {}
        Ok(())
    }

    fn send(&mut self, message: HostMessage) -> anyhow::Result<()> {
        let bytes = encode(message)?;
        Ok(self.stream.write_all(&bytes)?)
    }

    fn receive(&mut self) -> anyhow::Result<WorkerMessage> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(decode_worker(&frame)?);
            }
            read_more(&mut self.stream, &mut self.decoder)?;
        }
    }

    fn invocation(&mut self) -> anyhow::Result<Vec<u8>> {
        self.invocations += 1;
        let http = RpcHttp {
            method: "GET".to_owned(),
            url: "http://127.0.0.1:7071/api/hello".to_owned(),
            headers: [("host", "127.0.0.1:7071"), ("accept", "*/*")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..RpcHttp::default()
        };
        let trace_parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
        encode(HostMessage::Invoke(InvocationRequest {
            invocation_id: InvocationId::from(format!("00000000-0000-4000-8000-{:012}", self.invocations)),
            function_id: self.function.clone(),
            input_data: vec![ParameterBinding {
                name: self.trigger.clone(),
                data: TypedData::Http(Box::new(http)),
            }],
            trace_context: RpcTraceContext { trace_parent, ..RpcTraceContext::default() },
            ..InvocationRequest::default()
        }))
    }

    /// Keeps `concurrency` invocations running for a while.
    pub(super) fn sample(&mut self, concurrency: usize, length: Duration) -> anyhow::Result<Sample> {
        let worker_before = processor_time_ns(self.process.id())?;
        let began = Instant::now();
        let mut first = Vec::new();
        for _ in 0..concurrency {
            first.extend(self.invocation()?);
        }
        self.stream.write_all(&first)?;
        let (mut calls, mut running) = (0, concurrency);
        while running > 0 {
            match self.receive()? {
                WorkerMessage::Invoked(response) if response.result.status == Status::Success => calls += 1,
                WorkerMessage::Invoked(response) => bail!("an invocation failed: {:?}", response.result),
                _ => continue,
            }
            if began.elapsed() < length {
                let next = self.invocation()?;
                self.stream.write_all(&next)?;
            } else {
                running -= 1;
            }
        }
        Ok(Sample {
            calls,
            wall_ns: u64::try_from(began.elapsed().as_nanos())?,
            host_ns: 0,
            worker_ns: processor_time_ns(self.process.id())? - worker_before,
            p50_ns: 0,
            p99_ns: 0,
        })
    }
}

fn encode(message: HostMessage) -> anyhow::Result<Vec<u8>> {
    let frame = encode_host(message, FRAME_BYTES_MAX)?;
    let mut bytes = Vec::with_capacity(frame.bytes());
    for chunk in frame.chunks {
        match chunk {
            Chunk::Bytes(part) => bytes.extend_from_slice(&part),
            Chunk::Stored(_) => bail!("nothing is stored in a file here"),
        }
    }
    Ok(bytes)
}

fn read_more(stream: &mut UnixStream, decoder: &mut FrameDecoder) -> anyhow::Result<()> {
    let mut part = [0; 64 << 10];
    let length = stream.read(&mut part)?;
    if length == 0 {
        bail!("the worker closed its connection; what it printed is above");
    }
    decoder.buffer().put_slice(&part[..length]);
    Ok(())
}
