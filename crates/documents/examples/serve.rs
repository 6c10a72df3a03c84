//! Serves documents on loopback with plain HTTP and the public development key, to try clients.
//!
//! `cargo run -p documents --example serve -- [folder] [port]`; prints the address.

use std::convert::Infallible;

use documents::{Options, Service};
use http_body_util::BodyExt;
use http_messages::Body;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus_client::registry::Registry;
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let data_dir = arguments.next().unwrap_or_else(|| "data/documents".to_owned()).into();
    let port: u16 = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let options = Options { data_dir, development_key: true, ..Options::default() };
    let (service, _handle) = Service::open(options, trace::Tracer::new(1024), &mut Registry::default())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service.clone().map_request(|request: http::Request<hyper::body::Incoming>| {
            request.map(|body| -> Body { body.map_err(Into::into).boxed_unsync() })
        });
        tokio::spawn(async move {
            let service = tower::util::BoxCloneSyncService::<_, _, Infallible>::new(service);
            let connection = Builder::new(TokioExecutor::new());
            let served = connection.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
            if let Err(error) = served.await {
                eprintln!("{error}");
            }
        });
    }
}
