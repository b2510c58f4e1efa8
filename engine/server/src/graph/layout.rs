//! Where the boxes and the lines of a plan's picture are.

use backout_core::id::StepIx;
use backout_core::plan::{Order, Plan};
use unicode_width::UnicodeWidthStr;

use super::Label;
use super::place::spread;
use super::rank::{Place, Ranks, count};

/// Pixels that one character of the bold id takes.
const ID_CHAR_WIDTH: f64 = 8.2;
/// Pixels that one character of the smaller second line takes.
const SUBTITLE_CHAR_WIDTH: f64 = 6.6;
/// Pixels beside the text of a box, both sides together.
const BOX_PADDING: f64 = 34.0;
/// Pixels of the narrowest box.
const BOX_WIDTH_MIN: f64 = 120.0;
/// Pixels of a box with two lines of text, and what a third one adds.
const BOX_HEIGHT: f64 = 48.0;
const MARKS_HEIGHT: f64 = 17.0;
/// Pixels between two boxes of a row.
const COLUMN_GAP: f64 = 26.0;
/// Pixels between two rows; lines bend here.
const ROW_GAP: f64 = 52.0;
/// Pixels that a passing line takes in a row.
const BEND_WIDTH: f64 = 10.0;
/// Pixels around the whole.
const MARGIN: f64 = 20.0;
/// Rounds of moving rows towards their neighbours.
const ROUNDS: usize = 60;
/// Rounds that look one way only, first; the rest looks both ways and settles.
const ROUNDS_ONE_WAY: usize = 12;
/// How much straighter a long line wants to be than a box wants to be centred.
const BEND_WEIGHT: f64 = 8.0;

/// One box.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeBox {
    /// The step.
    pub step: StepIx,
    /// Its left edge, pixels.
    pub x: f64,
    /// Its upper edge, pixels.
    pub y: f64,
    /// Its width, pixels.
    pub w: f64,
    /// Its height, pixels.
    pub h: f64,
}

/// One line from a step to one that needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeLine {
    /// Where it begins.
    pub from: StepIx,
    /// Where it ends, with an arrow.
    pub to: StepIx,
    /// The points it runs through, `(x, y)` in pixels; the first and the last touch the boxes.
    pub points: Vec<(f64, f64)>,
}

/// A picture without paint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Pixels across.
    pub width: f64,
    /// Pixels down.
    pub height: f64,
    /// One for each step, in plan order.
    pub nodes: Vec<NodeBox>,
    /// One for each need.
    pub edges: Vec<EdgeLine>,
}

/// Draws a plan in rows, one for each wave. The same plan always gives the same picture.
pub fn layout(plan: &Plan, order: &Order) -> Layout {
    let sizes: Vec<(f64, f64)> = plan.steps.iter().map(|step| size(&Label::of(step))).collect();
    let ranks = Ranks::of(order);
    let centres = columns(&ranks, &sizes);
    let tops = tops(&ranks, &sizes);
    let nodes = boxes(order, &sizes, &centres, &tops);
    let edges = lines(&ranks, order, &nodes, &centres, &tops);
    let width = nodes.iter().map(|node| node.x + node.w).fold(0.0, f64::max);
    let bends = edges.iter().flat_map(|edge| &edge.points).map(|point| point.0);
    let height = nodes.iter().map(|node| node.y + node.h).fold(0.0, f64::max);
    Layout { width: bends.fold(width, f64::max) + MARGIN, height: height + MARGIN, nodes, edges }
}

fn size(label: &Label) -> (f64, f64) {
    let id = count(label.id.width()) * ID_CHAR_WIDTH;
    let subtitle = count(label.subtitle.width()) * SUBTITLE_CHAR_WIDTH;
    let marks = count(label.marks.join("  ").width()) * SUBTITLE_CHAR_WIDTH;
    let height = if label.marks.is_empty() { BOX_HEIGHT } else { BOX_HEIGHT + MARKS_HEIGHT };
    ((id.max(subtitle).max(marks) + BOX_PADDING).max(BOX_WIDTH_MIN), height)
}

/// The centre of each place, moved so that the leftmost box begins at the margin.
fn columns(ranks: &Ranks, sizes: &[(f64, f64)]) -> Vec<f64> {
    let width = |at: usize| match ranks.places[at] {
        Place::Step(step) => sizes[step.0].0,
        Place::Bend => BEND_WIDTH,
    };
    let mut centres = vec![0.0; ranks.places.len()];
    for row in &ranks.rows {
        place_row(row, &mut centres, &width, |_, _| (0.0, 1.0));
    }
    for round in 0..ROUNDS {
        let rows: Box<dyn Iterator<Item = &Vec<usize>>> = if round.is_multiple_of(2) {
            Box::new(ranks.rows.iter())
        } else {
            Box::new(ranks.rows.iter().rev())
        };
        for row in rows {
            place_row(row, &mut centres, &width, |at, centres| wish(ranks, at, centres, round));
        }
    }
    let left = (0..centres.len()).map(|at| centres[at] - width(at) / 2.0).fold(f64::MAX, f64::min);
    centres.iter().map(|centre| centre - left + MARGIN).collect()
}

fn place_row(
    row: &[usize],
    centres: &mut [f64],
    width: &impl Fn(usize) -> f64,
    wish: impl Fn(usize, &[f64]) -> (f64, f64),
) {
    let (wanted, weights): (Vec<f64>, Vec<f64>) = row.iter().map(|at| wish(*at, centres)).unzip();
    let widths: Vec<f64> = row.iter().map(|at| width(*at)).collect();
    for (at, centre) in row.iter().zip(spread(&wanted, &weights, &widths, COLUMN_GAP)) {
        centres[*at] = centre;
    }
}

/// Where a place wants to be and how much: in the middle of those it is joined to. Downward rounds
/// look up, upward rounds look down, the last ones both ways.
fn wish(ranks: &Ranks, at: usize, centres: &[f64], round: usize) -> (f64, f64) {
    let both = round >= ROUNDS_ONE_WAY;
    let up = if both || round.is_multiple_of(2) { &ranks.above[at][..] } else { &[] };
    let down = if both || !round.is_multiple_of(2) { &ranks.below[at][..] } else { &[] };
    let joined = up.len() + down.len();
    if joined == 0 {
        return (centres[at], 0.1);
    }
    let sum: f64 = up.iter().chain(down).map(|other| centres[*other]).sum();
    let weight = match ranks.places[at] {
        Place::Step(_) => count(joined),
        Place::Bend => BEND_WEIGHT,
    };
    (sum / count(joined), weight)
}

/// The upper edge and the height of each row.
fn tops(ranks: &Ranks, sizes: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut top = MARGIN;
    let mut tops = Vec::with_capacity(ranks.rows.len());
    for row in &ranks.rows {
        let tallest = row.iter().map(|at| match ranks.places[*at] {
            Place::Step(step) => sizes[step.0].1,
            Place::Bend => 0.0,
        });
        let height = tallest.fold(BOX_HEIGHT, f64::max);
        tops.push((top, height));
        top += height + ROW_GAP;
    }
    tops
}

fn boxes(
    order: &Order,
    sizes: &[(f64, f64)],
    centres: &[f64],
    tops: &[(f64, f64)],
) -> Vec<NodeBox> {
    let node = |(at, (w, h)): (usize, &(f64, f64))| {
        let (top, height) = tops[order.wave[at]];
        NodeBox {
            step: StepIx(at),
            x: centres[at] - w / 2.0,
            y: top + (height - h) / 2.0,
            w: *w,
            h: *h,
        }
    };
    sizes.iter().enumerate().map(node).collect()
}

fn lines(
    ranks: &Ranks,
    order: &Order,
    nodes: &[NodeBox],
    centres: &[f64],
    tops: &[(f64, f64)],
) -> Vec<EdgeLine> {
    let line = |(from, to, path): &(StepIx, StepIx, Vec<usize>)| {
        let (first, last) = (&nodes[from.0], &nodes[to.0]);
        let mut points = vec![(centres[from.0], first.y + first.h)];
        let bends = &path[1..path.len() - 1];
        for (row, at) in bends.iter().enumerate() {
            let (top, height) = tops[order.wave[from.0] + 1 + row];
            points.push((centres[*at], top));
            points.push((centres[*at], top + height));
        }
        points.push((centres[to.0], last.y));
        EdgeLine { from: *from, to: *to, points }
    };
    ranks.lines.iter().map(line).collect()
}
