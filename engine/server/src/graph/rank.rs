//! The layers: which nodes stand in a row, in which order, so that few lines cross.

use std::collections::BTreeMap;

use backout_core::id::StepIx;
use backout_core::plan::Order;

/// Sweeps over all layers; more changes nothing that an eye sees.
const SWEEPS: usize = 12;
/// Bends that all long lines may have together. Beyond it they are drawn straight: a picture of so
/// many lines is read by nobody, but it must still end.
const BENDS_MAX: usize = 40_000;

/// One place in a row: a step, or the bend of a line that passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Step(StepIx),
    Bend,
}

/// The rows with their places, and the lines between places of neighbouring rows.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    pub(super) places: Vec<Place>,
    /// The places of each row, from left to right.
    pub(super) rows: Vec<Vec<usize>>,
    pub(super) above: Vec<Vec<usize>>,
    pub(super) below: Vec<Vec<usize>>,
    /// For each line of the plan the places it runs through.
    pub(super) lines: Vec<(StepIx, StepIx, Vec<usize>)>,
}

impl Ranks {
    pub(super) fn of(order: &Order) -> Self {
        let mut ranks = Self::steps(order);
        ranks.add_lines(order);
        ranks.uncross();
        ranks
    }

    fn steps(order: &Order) -> Self {
        let rows = vec![Vec::new(); order.wave.iter().max().map_or(0, |last| last + 1)];
        let mut ranks = Self { rows, ..Self::default() };
        for (at, wave) in order.wave.iter().enumerate() {
            ranks.add(Place::Step(StepIx(at)), *wave);
        }
        ranks
    }

    fn add(&mut self, place: Place, row: usize) -> usize {
        let at = self.places.len();
        self.places.push(place);
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        self.rows[row].push(at);
        at
    }

    fn add_lines(&mut self, order: &Order) {
        let mut bends_left = BENDS_MAX;
        for (to, needs) in order.needs.iter().enumerate() {
            for from in needs {
                let (top, bottom) = (order.wave[from.0], order.wave[to]);
                let bends = bottom.saturating_sub(top + 1);
                let mut path = vec![from.0];
                if bends <= bends_left {
                    bends_left -= bends;
                    path.extend((top + 1..bottom).map(|row| self.add(Place::Bend, row)));
                }
                path.push(to);
                self.lines.push((*from, StepIx(to), path));
            }
        }
        for (_, _, path) in &self.lines {
            for pair in path.windows(2) {
                self.below[pair[0]].push(pair[1]);
                self.above[pair[1]].push(pair[0]);
            }
        }
    }

    /// Sorts each row by the middle of its neighbours, downwards and upwards in turn, and keeps the
    /// arrangement with the fewest crossings.
    fn uncross(&mut self) {
        let mut best = (self.crossings(), self.rows.clone());
        for sweep in 0..SWEEPS {
            if best.0 == 0 {
                break;
            }
            self.sweep(sweep % 2 == 0);
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
        }
        self.rows = best.1;
    }

    fn sweep(&mut self, down: bool) {
        let mut position = self.positions();
        let rows: Vec<usize> = if down {
            (0..self.rows.len()).collect()
        } else {
            (0..self.rows.len()).rev().collect()
        };
        for row in rows {
            let neighbours = if down { &self.above } else { &self.below };
            let middle = |at: usize| -> f64 {
                let of = &neighbours[at];
                if of.is_empty() {
                    return position[at];
                }
                of.iter().map(|n| position[*n]).sum::<f64>() / count(of.len())
            };
            let mut sorted: Vec<(f64, usize)> =
                self.rows[row].iter().map(|at| (middle(*at), *at)).collect();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.rows[row] = sorted.into_iter().map(|(_, at)| at).collect();
            for (index, at) in self.rows[row].iter().enumerate() {
                position[*at] = count(index);
            }
        }
    }

    fn positions(&self) -> Vec<f64> {
        let mut position = vec![0.0; self.places.len()];
        for row in &self.rows {
            for (index, at) in row.iter().enumerate() {
                position[*at] = count(index);
            }
        }
        position
    }

    /// Crossings between neighbouring rows, counted by a tree over positions: rows may be wide.
    fn crossings(&self) -> usize {
        self.rows.windows(2).map(|pair| self.crossings_between(&pair[0], &pair[1])).sum()
    }

    fn crossings_between(&self, upper: &[usize], lower: &[usize]) -> usize {
        let place: BTreeMap<usize, usize> =
            lower.iter().enumerate().map(|(index, at)| (*at, index)).collect();
        let mut seen = vec![0_usize; lower.len() + 1];
        let (mut total, mut lines) = (0, 0);
        for at in upper {
            let mut ends: Vec<usize> =
                self.below[*at].iter().filter_map(|to| place.get(to).copied()).collect();
            ends.sort_unstable();
            total += ends.iter().map(|end| lines - sum_to(&seen, end + 1)).sum::<usize>();
            for end in ends {
                add_at(&mut seen, end + 1);
                lines += 1;
            }
        }
        total
    }
}

fn sum_to(tree: &[usize], mut at: usize) -> usize {
    let mut sum = 0;
    while at > 0 {
        sum += tree[at];
        at &= at - 1;
    }
    sum
}

fn add_at(tree: &mut [usize], mut at: usize) {
    while at < tree.len() {
        tree[at] += 1;
        at += at & at.wrapping_neg();
    }
}

/// A small number as a coordinate.
#[expect(clippy::cast_precision_loss, reason = "places in a picture are far below 2^52")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}
