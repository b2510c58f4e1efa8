//! The queue before the writer: bounded, drained whole.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::watches::locked;

/// Appends that wait at the most: more than any engine has in flight, so that only a runaway meets
/// it; who meets it waits.
const QUEUE_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let state = Mutex::new(State { items: VecDeque::new(), closed: false });
        Self { state, filled: Condvar::new(), drained: Condvar::new() }
    }
}

impl<T> Queue<T> {
    /// Puts an item at the end and wakes the writer's thread; gives it back where the queue is
    /// closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        if self.put(item)? == 1 {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Puts an item at the end without waking anybody: for who takes it out again at once.
    pub(crate) fn put(&self, item: T) -> Result<usize, T> {
        let mut state = locked(&self.state);
        while state.items.len() >= QUEUE_MAX && !state.closed {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        Ok(state.items.len())
    }

    /// Waits until there is something to take. False where the queue is closed and empty.
    pub(crate) fn wait(&self) -> bool {
        let mut state = locked(&self.state);
        while state.items.is_empty() && !state.closed {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.items.is_empty()
    }

    /// Takes all there is.
    pub(crate) fn take(&self) -> VecDeque<T> {
        let items = std::mem::take(&mut locked(&self.state).items);
        self.drained.notify_all();
        items
    }

    /// Lets nothing more in.
    pub(crate) fn close(&self) {
        locked(&self.state).closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }
}
