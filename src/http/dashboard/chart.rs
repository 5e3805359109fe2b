//! Bars as numbers in a box: where each piece of each bar stands. Never: what is counted, words.

/// Series that have a colour of their own; what is more is one series together.
pub(super) const SERIES_MAX: usize = 8;

/// The box that bars are drawn in. It is stretched to whatever room there is.
pub(super) const WIDTH: u64 = 1000;
/// Its height.
pub(super) const HEIGHT: u64 = 200;

/// A piece of a bar: the box it fills, and which series it is, from 1 on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
    pub(super) series: usize,
}

/// The least round number that is not below `value`: 1, 2 or 5 and noughts.
pub(super) fn ceiling(value: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        for round in [1, 2, 5] {
            let round = unit.saturating_mul(round);
            if round >= value || round == u64::MAX {
                return round;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// Bars side by side, each of the values of all series from the ground up.
pub(super) fn stacked(bars: &[Vec<u64>], top: u64) -> Vec<Vec<Piece>> {
    let count = (bars.len() as u64).max(1);
    let slot = WIDTH / count;
    let gap = (slot / 5).max(1);
    let pieces = |(place, values): (usize, &Vec<u64>)| {
        let (x, width) = (place as u64 * WIDTH / count + gap / 2, slot.saturating_sub(gap).max(1));
        let mut below = 0_u64;
        let piece = |(series, value): (usize, &u64)| {
            let foot = scaled(below, top);
            below = below.saturating_add(*value);
            let head = scaled(below, top);
            (head > foot).then_some(Piece {
                x,
                y: HEIGHT - head,
                width,
                height: head - foot,
                series: series + 1,
            })
        };
        values.iter().enumerate().filter_map(piece).collect()
    };
    bars.iter().enumerate().map(pieces).collect()
}

fn scaled(value: u64, top: u64) -> u64 {
    let height = u128::from(value) * u128::from(HEIGHT) / u128::from(top.max(1));
    u64::try_from(height).unwrap_or(HEIGHT).min(HEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_is_round_and_not_below() {
        for (value, round) in [(0, 1), (1, 1), (3, 5), (5, 5), (6, 10), (101, 200), (u64::MAX, u64::MAX)] {
            assert_eq!(ceiling(value), round);
        }
    }

    #[test]
    fn pieces_stand_on_each_other_and_within_the_box() {
        let bars = stacked(&[vec![5, 0, 5], vec![], vec![u64::MAX, u64::MAX]], 20);
        let [first, none, most] = bars.as_slice() else { panic!("{bars:?}") };
        assert_eq!(
            first.iter().map(|piece| (piece.y, piece.height, piece.series)).collect::<Vec<_>>(),
            [(150, 50, 1), (100, 50, 3)]
        );
        assert_eq!((none.len(), most.len(), most[0].height), (0, 1, HEIGHT));
        for count in [1, 24, 90] {
            let bars = stacked(&vec![vec![1]; count], 1);
            let ends: Vec<_> = bars.iter().flatten().map(|piece| (piece.x, piece.x + piece.width)).collect();
            assert!(
                ends.windows(2).all(|two| two[0].1 <= two[1].0) && ends[count - 1].1 <= WIDTH,
                "{ends:?}"
            );
        }
    }
}
