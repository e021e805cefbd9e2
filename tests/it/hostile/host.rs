//! A server below HTTP: it answers as the mock does, unless a test has it play a trick.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use record_sync::connectors::mock::{Mock, MockSettings, Reply, Request};
use record_sync::connectors::{Clock, find};
use record_sync::engine::record::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::description;

/// What comes instead of the mock's answer.
#[derive(Clone)]
pub enum Trick {
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// A good head, then one byte a second.
    Drip,
    /// Headers without end.
    Heads,
    /// A body of a gigabyte.
    Flood,
    /// Nothing at all.
    Silence,
    /// The bytes, once so many asked.
    Together(Arc<Barrier>, Vec<u8>),
}

/// Changes a request before the mock sees it.
pub type Disguise = Arc<dyn Fn(&Request) -> Request + Send + Sync>;

/// Says whether a request meets a trick.
pub type Plan = Arc<dyn Fn(&Request) -> Option<Trick> + Send + Sync>;

pub struct Host {
    pub url: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    url: String,
    mock: Arc<dyn Mock>,
    clock: Clock,
    plan: Mutex<Plan>,
    disguise: Mutex<Disguise>,
    seen: Mutex<Vec<Request>>,
    /// Bytes of floods that went out.
    flooded: AtomicU64,
}

/// A moment for the mock's clock.
const NOW: Timestamp = Timestamp(1_769_853_600_000);

impl Host {
    pub async fn start(connector: &str) -> Self {
        Self::start_at(connector, description(connector), Arc::new(|| NOW)).await
    }

    /// Starts one whose mock is made from this description, and whose clock is ours.
    pub async fn start_as(connector: &str, description: serde_json::Value) -> Self {
        Self::start_at(connector, description, record_sync::runtime::clock::real()).await
    }

    async fn start_at(connector: &str, description: serde_json::Value, clock: Clock) -> Self {
        let described = MockSettings { description, ..MockSettings::default() };
        let mock = (find(connector).unwrap().mock.unwrap())(described);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            url: url.clone(),
            mock,
            clock,
            plan: Mutex::new(Arc::new(|_| None)),
            disguise: Mutex::new(Arc::new(Request::clone)),
            seen: Mutex::default(),
            flooded: AtomicU64::new(0),
        });
        let mut server = JoinSet::new();
        let accepting = Arc::clone(&shared);
        server.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                open.spawn(async move { serve(&shared, stream).await });
            }
        });
        Self { url, shared, _server: server }
    }

    /// Answers fairly but for what the plan picks.
    pub fn plan(&self, plan: impl Fn(&Request) -> Option<Trick> + Send + Sync + 'static) {
        *self.shared.plan.lock().unwrap() = Arc::new(plan);
        self.shared.seen.lock().unwrap().clear();
    }

    /// Changes every request before the mock sees it.
    pub fn disguise(&self, disguise: impl Fn(&Request) -> Request + Send + Sync + 'static) {
        *self.shared.disguise.lock().unwrap() = Arc::new(disguise);
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }

    /// Asks the mock past HTTP, as anybody may.
    pub fn ask(&self, request: &Request) -> Reply {
        self.shared.mock.handle(request, (self.shared.clock)())
    }

    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn flooded(&self) -> u64 {
        self.shared.flooded.load(Ordering::SeqCst)
    }

    /// Asks the mock past HTTP.
    pub fn standing(&self, stream: &str) -> usize {
        let path = format!("/__admin/records/{stream}");
        let request = Request { method: "GET".into(), path, ..Request::default() };
        let reply = self.shared.mock.handle(&request, (self.shared.clock)());
        serde_json::from_slice::<Vec<serde_json::Value>>(&reply.body).unwrap().len()
    }
}

/// Builds a reply with its length.
pub fn http(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = head(status, headers);
    out.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
    out.extend(body);
    out
}

/// Builds a head without its end.
pub fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| out.push_str(&format!("{name}: {value}\r\n")));
    out.into_bytes()
}

async fn serve(shared: &Shared, mut stream: TcpStream) {
    // One request a connection: a trick must not meet one that the client keeps for later.
    let Some(request) = receive(shared, &mut stream).await else { return };
    shared.seen.lock().unwrap().push(request.clone());
    let plan = Arc::clone(&shared.plan.lock().unwrap());
    let trick = plan(&request).unwrap_or_else(|| {
        let disguise = Arc::clone(&shared.disguise.lock().unwrap());
        let reply = shared.mock.handle(&disguise(&request), (shared.clock)());
        let headers: Vec<(&str, &str)> =
            reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Trick::Raw(http(reply.status, &headers, &reply.body))
    });
    // The other end hangs up on most of them.
    let _ = play(shared, &mut stream, trick).await;
}

async fn play(shared: &Shared, stream: &mut TcpStream, trick: Trick) -> std::io::Result<()> {
    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
    match trick {
        Trick::Raw(bytes) => stream.write_all(&bytes).await?,
        Trick::Together(all, bytes) => {
            all.wait().await;
            stream.write_all(&bytes).await?;
        }
        Trick::Silence => std::future::pending().await,
        Trick::Drip => {
            let bytes = [head(200, JSON), b"content-length: 1000\r\n\r\n".to_vec()].concat();
            stream.write_all(&bytes).await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Trick::Heads => {
            stream.write_all(&head(200, JSON)).await?;
            loop {
                stream.write_all(&b"x-more: and more and more and more\r\n".repeat(100)).await?;
            }
        }
        Trick::Flood => {
            let bytes = [head(200, JSON), b"content-length: 1073741824\r\n\r\n".to_vec()].concat();
            stream.write_all(&bytes).await?;
            let piece = vec![b' '; 1 << 16];
            loop {
                stream.write_all(&piece).await?;
                shared.flooded.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
    }
    stream.shutdown().await
}

/// Reads one request; `None` at the end of the connection.
async fn receive(shared: &Shared, stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: lines.map(header).collect(),
        body: bytes[end + 4..].to_vec(),
        base_url: shared.url.clone(),
    };
    let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}
