//! What a served engine bears: many runs that live, many clients that follow one of them, and some
//! of those that take nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::process::{backout, resident_mb};
use crate::{Line, world};

/// Runs that live at once.
const RUNS: usize = 1_000;
/// Clients that follow one run.
const CLIENTS: usize = 200;
/// Those of them that take nothing of what they are sent.
const STUCK: usize = 20;
/// Notes that are taken of the run that they follow.
const NOTES: usize = 100;
/// How long nothing is asked before a measurement: a client may ask 200 times a second, and 400 times
/// in a burst, which is refilled meanwhile.
const REFILL: Duration = Duration::from_secs(3);
/// How long between two looks at whether the engine is ready.
const LOOK: Duration = Duration::from_millis(20);
/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// A run with one follower, and then with all of them.
pub(crate) fn served() -> Result<Vec<Line>> {
    let dir = tempfile::tempdir_in(".")?;
    let store = dir.path().join("store");
    live_runs(&store)?;
    let mut engine = Engine::start(&store)?;
    let measured = engine.measured();
    engine.process.kill()?;
    engine.process.wait()?;
    measured
}

/// A store of runs that wait for a person, and nobody drives them.
fn live_runs(dir: &Path) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let store = world::store(dir)?;
    let engine = world::engine(&store);
    runtime.block_on(async {
        for at in 0..RUNS {
            let plan = world::chain(Some(world::gate()), 10);
            engine.start(world::run(8, at), plan, String::new(), world::cause()).await?;
        }
        engine.stop("the engine is about to be served", 10_000).await;
        anyhow::Ok(())
    })
}

struct Engine {
    process: Child,
    address: String,
    took_up_ms: f64,
}

impl Engine {
    /// Serves the store, until all its runs are driven.
    fn start(store: &Path) -> Result<Self> {
        let began = Instant::now();
        let mut process = backout(store)?
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = process.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let (_, address) = line.split_once("http://").context("it does not say where it is")?;
        let address = address.trim().to_owned();
        let mut engine = Self { process, address, took_up_ms: 0.0 };
        while !engine.get("/healthz")?.contains(&format!("\"drives\":{RUNS}")) {
            ensure!(began.elapsed() < PATIENCE, "it does not drive {RUNS} runs");
            std::thread::sleep(LOOK);
        }
        engine.took_up_ms = began.elapsed().as_secs_f64() * 1e3;
        Ok(engine)
    }

    fn measured(&self) -> Result<Vec<Line>> {
        let idle = resident_mb(self.process.id())?;
        let began = Instant::now();
        self.get("/api/v1/runs?limit=100")?;
        let first = began.elapsed().as_secs_f64() * 1e3;
        let began = Instant::now();
        self.get("/api/v1/runs?limit=100")?;
        let list = began.elapsed().as_secs_f64() * 1e3;
        let one = self.followed(1, 0)?;
        let many = self.followed(CLIENTS - STUCK, STUCK)?;
        let grown = resident_mb(self.process.id())? - idle;
        let line = |name: String, ours: String, baseline: String, ratio: String, goal| Line {
            name,
            ours,
            baseline,
            ratio,
            goal,
            met: None,
        };
        let plain = |name: &str, ours| line(name.into(), ours, String::new(), String::new(), "");
        Ok(vec![
            plain("serve: 1,000 runs taken up", format!("{:.0} ms", self.took_up_ms)),
            plain("serve: memory with 1,000 live runs", format!("{idle:.1} MB")),
            line(
                "serve: a list of 100 of 1,000 runs".into(),
                format!("{list:.1} ms"),
                format!("first {first:.0} ms"),
                String::new(),
                "",
            ),
            line(
                format!("serve: an event with {CLIENTS} followers, {STUCK} of them stuck"),
                format!("{:.2} ms/event", many * 1e3),
                format!("{:.2} (one)", one * 1e3),
                format!("{:.2}", many / one),
                "the slowest slows nobody",
            ),
            plain("serve: memory that the followers cost", format!("{grown:.1} MB")),
        ])
    }

    /// Seconds from note to note, until every follower that reads has seen each of them.
    fn followed(&self, reading: usize, stuck: usize) -> Result<f64> {
        std::thread::sleep(REFILL);
        let run = world::run(8, 0);
        let path = format!("/api/v1/runs/{run}");
        let from = self.last(&path)?;
        let held: Vec<TcpStream> =
            (0..stuck).map(|_| self.follow(&path, from)).collect::<Result<_>>()?;
        let seen = Arc::new(AtomicUsize::new(0));
        let ready = Arc::new(Barrier::new(reading + 1));
        let mut followers = Vec::new();
        for _ in 0..reading {
            let stream = self.follow(&path, from)?;
            let (seen, ready) = (seen.clone(), ready.clone());
            followers.push(std::thread::spawn(move || -> Result<()> {
                ready.wait();
                let mut notes = 0;
                for line in BufReader::new(stream).lines() {
                    notes += usize::from(line?.contains("note-taken"));
                    if notes == NOTES {
                        seen.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
                Ok(())
            }));
        }
        ready.wait();
        let began = Instant::now();
        for at in 0..NOTES {
            self.note(&path, at)?;
        }
        for follower in followers {
            follower.join().map_err(|_| anyhow::anyhow!("a follower broke off"))??;
        }
        let took = began.elapsed().as_secs_f64();
        ensure!(seen.load(Ordering::Relaxed) == reading, "a follower missed something");
        drop(held);
        Ok(took / f64::from(u32::try_from(NOTES)?))
    }

    /// Follows a run from behind this event on.
    fn follow(&self, path: &str, from: u64) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {path}/events/stream?from={} HTTP/1.1\r\nhost: {}\r\n\r\n",
            from + 1,
            self.address
        )?;
        let mut first = [0; 15];
        stream.read_exact(&mut first)?;
        ensure!(&first == b"HTTP/1.1 200 OK", "{}", String::from_utf8_lossy(&first));
        Ok(stream)
    }

    fn last(&self, path: &str) -> Result<u64> {
        let text = self.get(path)?;
        let body = text.split_once("\r\n\r\n").context("no answer")?.1;
        let view: serde_json::Value = serde_json::from_str(body)?;
        view["seq"].as_u64().with_context(|| format!("no position in {body}"))
    }

    fn note(&self, path: &str, at: usize) -> Result<()> {
        let body =
            format!(r#"{{"ask":{{"ask":"note","text":"note {at}"}},"by":{{"actor":"bench"}}}}"#);
        let answer = self.ask(&format!(
            "POST {path}/ask HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    }

    fn get(&self, path: &str) -> Result<String> {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        ))
    }

    fn ask(&self, request: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
