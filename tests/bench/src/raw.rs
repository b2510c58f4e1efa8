//! The baseline: the same bytes, appended to a preallocated file and synced, with the same number
//! outstanding. One writer drains what waits, writes once, syncs once, answers all.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Bytes that are made ready before the clock starts.
const PREPARED: usize = 64 * 1024 * 1024;

fn prepared(dir: &Path) -> Result<File> {
    let path = dir.join("raw");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let zeroes = vec![0_u8; 1024 * 1024];
    for at in 0..PREPARED / zeroes.len() {
        file.write_all_at(&zeroes, u64::try_from(at * zeroes.len())?)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// One after the other: how long `count` synced appends of `bytes` take.
pub(crate) fn chain(dir: &Path, count: usize, bytes: usize) -> Result<Duration> {
    let file = prepared(dir)?;
    let record = vec![7_u8; bytes];
    let started = Instant::now();
    for at in 0..count {
        file.write_all_at(&record, u64::try_from(at * bytes % PREPARED)?)?;
        file.sync_data()?;
    }
    Ok(started.elapsed())
}

/// `writers` at once, each `each` appends of `bytes`, the next only when the last is on disk. One
/// thread plays all of them, so nothing is paid for waking anybody: what the disk would bear.
pub(crate) fn group(dir: &Path, writers: usize, each: usize, bytes: usize) -> Result<Duration> {
    let (queue, waiting) = mpsc::channel();
    let (acked, acks) = mpsc::channel();
    let file = prepared(dir)?;
    for client in 0..writers {
        queue.send((vec![7_u8; bytes], client))?;
    }
    let started = Instant::now();
    let writer = thread::spawn(move || {
        write(&file, &waiting, |clients| acked.send(clients).map_err(anyhow::Error::from))
    });
    let mut left = vec![each; writers];
    while left.iter().any(|left| *left > 0) {
        for client in acks.recv()? {
            let Some(left) = left.get_mut(client) else { continue };
            *left -= 1;
            if *left > 0 {
                queue.send((vec![7_u8; bytes], client))?;
            }
        }
    }
    let elapsed = started.elapsed();
    drop(queue);
    writer.join().map_err(|_| anyhow::anyhow!("the baseline's writer broke off"))??;
    Ok(elapsed)
}

/// As [`group`], with a thread for each of those at once: group commit as a program would use it.
pub(crate) fn threads(dir: &Path, writers: usize, each: usize, bytes: usize) -> Result<Duration> {
    let file = prepared(dir)?;
    let (queue, waiting) = mpsc::channel();
    let ready = Arc::new(Barrier::new(writers + 1));
    let mut clients = Vec::new();
    for _ in 0..writers {
        let (queue, ready) = (queue.clone(), ready.clone());
        let client = move || -> Result<()> {
            let (acked, ack) = mpsc::channel();
            ready.wait();
            for _ in 0..each {
                queue.send((vec![7_u8; bytes], acked.clone()))?;
                ack.recv()?;
            }
            Ok(())
        };
        clients.push(thread::Builder::new().stack_size(CLIENT_STACK).spawn(client)?);
    }
    drop(queue);
    let acknowledge = |clients: Vec<mpsc::Sender<()>>| {
        clients.iter().try_for_each(|client| client.send(()).map_err(anyhow::Error::from))
    };
    let writer = thread::spawn(move || write(&file, &waiting, acknowledge));
    ready.wait();
    let started = Instant::now();
    for client in clients.into_iter().chain([writer]) {
        client.join().map_err(|_| anyhow::anyhow!("a thread of the baseline broke off"))??;
    }
    Ok(started.elapsed())
}

/// Bytes of stack of a thread that only sends and waits; there are a thousand.
const CLIENT_STACK: usize = 64 * 1024;

/// The writer: drains what waits, writes once, syncs once, says so to all.
fn write<C>(
    file: &File,
    waiting: &mpsc::Receiver<(Vec<u8>, C)>,
    acknowledge: impl Fn(Vec<C>) -> Result<()>,
) -> Result<()> {
    let mut at = 0;
    while let Ok((mut batch, client)) = waiting.recv() {
        let mut clients = vec![client];
        while let Ok((more, client)) = waiting.try_recv() {
            batch.extend(more);
            clients.push(client);
        }
        if at + batch.len() > PREPARED {
            at = 0;
        }
        file.write_all_at(&batch, u64::try_from(at)?)?;
        file.sync_data()?;
        at += batch.len();
        if acknowledge(clients).is_err() {
            break;
        }
    }
    Ok(())
}
