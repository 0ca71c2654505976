//! A small HTTP server that does what the test tells it for each request, and notes the requests. What it is not told to
//! answer by itself it hands on to a real server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What was asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The last part of `X-Amz-Target`, else the `Action` of a form, else method and path.
    pub action: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    head: String,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status and a body.
    Says(u16, String),
    /// These bytes, and the end.
    Raw(Vec<u8>),
    /// The same after a while.
    Late(Duration, Box<Answer>),
    /// Nothing, ever.
    Nothing,
    /// The end of the connection.
    Hangs,
    /// An answer without an end.
    Endless,
    /// What the server at this address says.
    Forward(String),
}

impl Answer {
    /// An error as AWS words it.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Says(
            status,
            format!(r#"{{"__type":"com.amazon.coral.service#{code}","message":"S3CR3T said AKIDEXAMPLE"}}"#),
        )
    }

    /// The counts of a queue.
    pub fn counts(visible: &str, in_flight: &str, delayed: &str) -> Self {
        let body = format!(
            r#"{{"Attributes":{{"ApproximateNumberOfMessages":"{visible}","ApproximateNumberOfMessagesNotVisible":"{in_flight}","ApproximateNumberOfMessagesDelayed":"{delayed}"}}}}"#
        );
        Self::Says(200, body)
    }
}

type Script = dyn Fn(&Request) -> Answer + Send + Sync;

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    in_flight: usize,
    most_in_flight: usize,
    open: usize,
}

/// The server. It ends with the test's runtime.
#[derive(Clone)]
pub struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub async fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let (script, noted): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&state));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&noted)));
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state).requests)
    }

    /// The actions asked for since the last call.
    pub fn actions(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.action).collect()
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        lock(&self.state).open
    }

    pub fn most_in_flight(&self) -> usize {
        lock(&self.state).most_in_flight
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a request until it is answered or given up.
struct InFlight(Arc<Mutex<State>>);

impl InFlight {
    fn begin(state: &Arc<Mutex<State>>, request: Request) -> Self {
        let mut noted = lock(state);
        noted.requests.push(request);
        noted.in_flight += 1;
        noted.most_in_flight = noted.most_in_flight.max(noted.in_flight);
        Self(Arc::clone(state))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.0).in_flight -= 1;
    }
}

async fn serve(stream: TcpStream, script: Arc<Script>, state: Arc<Mutex<State>>) {
    lock(&state).open += 1;
    talk(stream, script, Arc::clone(&state)).await;
    lock(&state).open -= 1;
}

async fn talk(mut stream: TcpStream, script: Arc<Script>, state: Arc<Mutex<State>>) {
    while let Some(request) = read(&mut stream).await {
        let mut answer = script(&request);
        let in_flight = InFlight::begin(&state, request.clone());
        while let Answer::Late(wait, then) = answer {
            tokio::time::sleep(wait).await;
            answer = *then;
        }
        let (status, body) = match answer {
            Answer::Says(status, body) => (status, body),
            Answer::Forward(to) => forward(&to, &request).await,
            Answer::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Answer::Nothing => {
                // Until the other side has had enough.
                let _ = stream.read(&mut [0]).await;
                return;
            }
            Answer::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{\"x\":\"").await;
                let much = vec![b'x'; 64 << 10];
                while stream.write_all(&much).await.is_ok() {}
                return;
            }
            Answer::Hangs | Answer::Late(..) => return,
        };
        drop(in_flight);
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn forward(to: &str, request: &Request) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let path = request.head.split(' ').nth(1).unwrap_or("/");
    let mut call = client.post(format!("{to}{path}")).body(request.body.clone());
    for (name, value) in &request.headers {
        if name.starts_with("x-amz") || ["authorization", "content-type"].contains(&name.as_str()) {
            call = call.header(name, value);
        }
    }
    let answer = call.send().await.expect("the real server answers");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

/// One request; `None` at the end of the connection.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if !bytes.first().is_some_and(u8::is_ascii_uppercase) {
            // Something other than HTTP, such as TLS.
            let _ = stream.write_all(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n").await;
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let headers: BTreeMap<_, _> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&bytes[head_end + 4..]).into_owned();
    let form = || body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    let target = headers.get("x-amz-target").and_then(|target| target.rsplit('.').next());
    let line = head.lines().next().unwrap_or_default();
    let action = target.or_else(form).unwrap_or(line).to_owned();
    Some(Request { action, headers, body, head })
}
