//! The baseline: the same bytes, appended to a preallocated file and synced, with the same number
//! outstanding. One writer drains what waits, writes once, syncs once, answers all.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
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

/// `writers` at once, each `each` appends of `bytes`, the next only when the last is on disk.
pub(crate) fn group(dir: &Path, writers: usize, each: usize, bytes: usize) -> Result<Duration> {
    let file = prepared(dir)?;
    let (queue, waiting) = mpsc::channel::<(Vec<u8>, usize)>();
    let mut answers = Vec::new();
    let mut clients = Vec::new();
    let started = Instant::now();
    // One thread plays all clients: threads of its own would only add switches to the baseline.
    for client in 0..writers {
        answers.push(each);
        queue.send((vec![7_u8; bytes], client))?;
    }
    let sender = queue.clone();
    drop(queue);
    let (acked, acks) = mpsc::channel::<Vec<usize>>();
    let writer = thread::spawn(move || -> Result<()> {
        let mut at = 0;
        while let Ok((first, client)) = waiting.recv() {
            let mut batch = first;
            let mut done = vec![client];
            while let Ok((more, client)) = waiting.try_recv() {
                batch.extend(more);
                done.push(client);
            }
            if at + batch.len() > PREPARED {
                at = 0;
            }
            file.write_all_at(&batch, u64::try_from(at)?)?;
            file.sync_data()?;
            at += batch.len();
            if acked.send(done).is_err() {
                break;
            }
        }
        Ok(())
    });
    let mut left = writers * each;
    while left > 0 {
        for client in acks.recv()? {
            left -= 1;
            if let Some(more) = answers.get_mut(client) {
                *more -= 1;
                if *more > 0 {
                    sender.send((vec![7_u8; bytes], client))?;
                }
            }
        }
    }
    let elapsed = started.elapsed();
    drop(sender);
    clients.push(writer);
    for client in clients {
        client.join().map_err(|_| anyhow::anyhow!("the baseline's writer broke off"))??;
    }
    Ok(elapsed)
}
