//! The columns: where each place of a row stands, close to its neighbours and never overlapping.

/// A run of places that stand shoulder to shoulder.
struct Block {
    wanted: f64,
    weight: f64,
    len: usize,
}

/// The centres nearest to the wanted ones (least squares, weighted), in this order and with at least
/// `gap` between places of these widths. Pools neighbours that would overlap into blocks.
pub(super) fn spread(wanted: &[f64], weights: &[f64], widths: &[f64], gap: f64) -> Vec<f64> {
    let offsets = offsets(widths, gap);
    let mut blocks: Vec<Block> = Vec::with_capacity(wanted.len());
    for ((want, weight), offset) in wanted.iter().zip(weights).zip(&offsets) {
        let mut block = Block { wanted: want - offset, weight: *weight, len: 1 };
        while let Some(last) = blocks.pop_if(|last| last.wanted >= block.wanted) {
            block = merge(&last, &block);
        }
        blocks.push(block);
    }
    let starts = blocks.iter().flat_map(|block| std::iter::repeat_n(block.wanted, block.len));
    starts.zip(offsets).map(|(start, offset)| start + offset).collect()
}

fn merge(left: &Block, right: &Block) -> Block {
    let weight = left.weight + right.weight;
    let wanted = (left.wanted * left.weight + right.wanted * right.weight) / weight;
    Block { wanted, weight, len: left.len + right.len }
}

/// Where each centre stands when all are packed to the left.
fn offsets(widths: &[f64], gap: f64) -> Vec<f64> {
    let mut offsets = Vec::with_capacity(widths.len());
    let mut edge = 0.0;
    for width in widths {
        offsets.push(edge + width / 2.0);
        edge += width + gap;
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_do_not_touch_stand_where_they_want() {
        assert_eq!(spread(&[10.0, 100.0], &[1.0, 1.0], &[10.0, 10.0], 5.0), [10.0, 100.0]);
    }

    #[test]
    fn places_that_want_one_spot_share_it() {
        assert_eq!(spread(&[50.0, 50.0], &[1.0, 1.0], &[10.0, 10.0], 10.0), [40.0, 60.0]);
    }

    #[test]
    fn a_heavier_place_moves_less() {
        let placed = spread(&[50.0, 50.0], &[3.0, 1.0], &[10.0, 10.0], 10.0);
        assert_eq!(placed, [45.0, 65.0]);
    }
}
