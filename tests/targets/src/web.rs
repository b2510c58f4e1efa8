//! A small web server whose answers a test changes as it goes, and ports that do not answer.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::free_port;

#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    headers: String,
    /// Before the answer begins.
    wait: Duration,
}

#[derive(Debug)]
struct State {
    all: Answer,
    paths: BTreeMap<String, Vec<u8>>,
    requests: Vec<String>,
}

/// A server on loopback; it ends with the test's process.
#[derive(Clone, Debug)]
pub struct Web {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Web {
    /// A new one; it answers 200 with nothing.
    ///
    /// # Errors
    /// No port is to be had.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let all =
            Answer { status: 200, body: Vec::new(), headers: String::new(), wait: Duration::ZERO };
        let state = State { all, paths: BTreeMap::new(), requests: Vec::new() };
        let web = Self { port: listener.local_addr()?.port(), state: Arc::new(Mutex::new(state)) };
        let served = web.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                // A client that went away is no failure of the server.
                std::thread::spawn(move || drop(served.serve(&stream)));
            }
        });
        Ok(web)
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut request = String::new();
        let mut reader = BufReader::new(stream);
        while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request)? > 0 {}
        let mut words = request.split_whitespace();
        let is_head = words.next() == Some("HEAD");
        let path = words.next().unwrap_or_default().to_owned();
        let Answer { status, body, headers, wait } = self.with(|state| {
            state.requests.push(request);
            match state.paths.get(&path) {
                Some(body) => Answer { status: 200, body: body.clone(), ..state.all.clone() },
                None => state.all.clone(),
            }
        });
        std::thread::sleep(wait);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
        )?;
        stream.write_all(if is_head { &[] } else { &body })
    }

    /// What it answers wherever nothing was [put](Self::put).
    pub fn say(&self, status: u16, body: &str) {
        self.with(|state| {
            (state.all.status, state.all.body) = (status, body.as_bytes().to_vec());
        });
    }

    /// What it answers at a path, with 200.
    pub fn put(&self, path: &str, body: &[u8]) {
        self.with(|state| state.paths.insert(path.to_owned(), body.to_vec()));
    }

    /// A header of every answer: `"Location: /elsewhere"`.
    pub fn header(&self, line: &str) {
        self.with(|state| state.all.headers = format!("{line}\r\n"));
    }

    /// How long it waits before each answer.
    pub fn wait(&self, wait: Duration) {
        self.with(|state| state.all.wait = wait);
    }

    /// Where a path of it is.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.with(|state| state.requests.clone())
    }
}

/// A port that takes connections and says nothing, as long as this lives.
#[derive(Debug)]
pub struct Silent(TcpListener);

impl Silent {
    /// A new one.
    ///
    /// # Errors
    /// No port is to be had.
    pub fn start() -> io::Result<Self> {
        Ok(Self(TcpListener::bind(("127.0.0.1", 0))?))
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        self.0.local_addr().map(|address| address.to_string()).unwrap_or_default()
    }
}

/// A port that answers byte by byte and never comes to an end. It ends with the test's process.
#[derive(Debug)]
pub struct Trickle(String);

/// Between two bytes: well within any timeout of a single read.
const BETWEEN_BYTES: Duration = Duration::from_millis(100);
/// How long it waits for the other side to speak first.
const SPEAK_FIRST: Duration = Duration::from_millis(100);

impl Trickle {
    /// A new one, which begins each answer with this.
    ///
    /// # Errors
    /// No port is to be had.
    pub fn start(begin: &'static [u8]) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?.to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that went away is no failure of the server.
                std::thread::spawn(move || drop(trickle(stream, begin)));
            }
        });
        Ok(Self(address))
    }

    /// One that begins as a web server does.
    ///
    /// # Errors
    /// No port is to be had.
    pub fn web() -> io::Result<Self> {
        Self::start(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n[")
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        self.0.clone()
    }
}

fn trickle(mut stream: TcpStream, begin: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(SPEAK_FIRST))?;
    // Whatever is asked, if anything is: the answer is the same.
    drop(stream.read(&mut [0; 4096]));
    stream.write_all(begin)?;
    loop {
        std::thread::sleep(BETWEEN_BYTES);
        stream.write_all(b" ")?;
    }
}

/// An address where nothing listens.
///
/// # Errors
/// No port is to be had.
pub fn closed() -> io::Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}
