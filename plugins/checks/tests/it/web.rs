//! A small web server whose answer a test changes as it goes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    body: String,
    headers: String,
    /// Before the answer begins.
    wait: Duration,
}

/// A server on loopback; it ends with the test's process.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Web {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let answer = Answer {
            status: 200,
            body: String::new(),
            headers: String::new(),
            wait: Duration::ZERO,
        };
        let web = Self {
            port: listener.local_addr().unwrap().port(),
            answer: Arc::new(Mutex::new(answer)),
            requests: Arc::default(),
        };
        let served = web.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                // A client that went away is no failure of the server.
                std::thread::spawn(move || drop(served.serve(&stream)));
            }
        });
        web
    }

    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut request = String::new();
        let mut reader = BufReader::new(stream);
        while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request)? > 0 {}
        self.requests.lock().unwrap().push(request);
        let Answer { status, body, headers, wait } = self.answer.lock().unwrap().clone();
        std::thread::sleep(wait);
        write!(
            stream,
            "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}",
            body.len()
        )
    }

    pub(crate) fn say(&self, status: u16, body: &str) {
        let mut answer = self.answer.lock().unwrap();
        (answer.status, answer.body) = (status, body.to_owned());
    }

    pub(crate) fn header(&self, line: &str) {
        self.answer.lock().unwrap().headers = format!("{line}\r\n");
    }

    pub(crate) fn wait(&self, wait: Duration) {
        self.answer.lock().unwrap().wait = wait;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A port that takes connections and says nothing, as long as this lives.
pub(crate) struct Silent(TcpListener);

impl Silent {
    pub(crate) fn start() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).unwrap())
    }

    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

/// An address where nothing listens.
pub(crate) fn closed() -> String {
    format!("127.0.0.1:{}", backout_test_targets::free_port().unwrap())
}
