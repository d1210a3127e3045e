//! Splitting a batch of products into dispatches none of which takes long. Each element of the result is computed by one
//! dispatch, in the order of sums that it always has, so that no bit depends on where the pieces end.

use std::ops::Range;

use crate::gpu::split;

/// What one dispatch computes: matrices of the batch by their two indices, rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub outer: Range<usize>,
    pub inner: Range<usize>,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

/// Splits `[outer, inner, rows, columns]` into pieces of at most `most` operations, each element taking `operations`:
/// between matrices where single ones are small enough, else between tiles of `tile` rows and columns. A single tile is
/// never split.
pub(super) fn pieces(sizes: [usize; 4], tile: usize, operations: f64, most: f64) -> Vec<Piece> {
    let units = [1, 1, tile, tile];
    let mut rooms = [f64::INFINITY; 4];
    let mut whole = sizes.iter().map(|&size| size as f64).product::<f64>() * operations;
    for axis in 0..4 {
        if whole <= most {
            break;
        }
        whole *= units[axis].min(sizes[axis]) as f64 / sizes[axis] as f64;
        rooms[axis] = most / whole * units[axis] as f64;
    }
    let along = |axis: usize| split(sizes[axis], units[axis], rooms[axis]);
    let mut pieces = Vec::new();
    for outer in along(0) {
        for inner in along(1) {
            for rows in along(2) {
                let piece = |columns| Piece {
                    outer: outer.clone(),
                    inner: inner.clone(),
                    rows: rows.clone(),
                    columns,
                };
                pieces.extend(along(3).map(piece));
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pieces_end_where_they_should() {
        let whole = pieces([2, 3, 100, 70], 16, 2.0, 1e6);
        assert_eq!(whole, [Piece { outer: 0..2, inner: 0..3, rows: 0..100, columns: 0..70 }]);
        // Matrices of 14,000 operations.
        let some = pieces([2, 3, 100, 70], 16, 2.0, 30_000.0);
        assert_eq!(
            some.iter().map(|p| (p.outer.clone(), p.inner.clone())).collect::<Vec<_>>(),
            [(0..1, 0..2), (0..1, 2..3), (1..2, 0..2), (1..2, 2..3)]
        );
        let rows = pieces([1, 1, 100, 70], 16, 2.0, 5000.0);
        assert_eq!(rows.iter().map(|p| p.rows.clone()).collect::<Vec<_>>(), [0..32, 32..64, 64..96, 96..100]);
        let tiles = pieces([1, 1, 20, 70], 16, 2.0, 1.0);
        assert_eq!(tiles.len(), 2 * 5);
        assert_eq!((tiles[9].rows.clone(), tiles[9].columns.clone()), (16..20, 64..70));
        assert!(pieces([0, 1, 1, 1], 16, 1.0, 1.0).is_empty());
    }

    proptest! {
        #[test]
        fn every_element_is_in_one_piece(
            sizes in prop::array::uniform4(1usize..40),
            tile in prop::sample::select(vec![4usize, 16]),
            most in 1.0..1e6f64
        ) {
            let list = pieces(sizes, tile, 2.0, most);
            let lengths = |p: &Piece| [p.outer.len(), p.inner.len(), p.rows.len(), p.columns.len()];
            let total: usize = list.iter().map(|p| lengths(p).iter().product::<usize>()).sum();
            prop_assert_eq!(total, sizes.iter().product::<usize>());
            for (index, piece) in list.iter().enumerate() {
                let [outer, inner, rows, columns] = lengths(piece);
                let single = outer == 1 && inner == 1 && rows <= tile && columns <= tile;
                prop_assert!(single || 2.0 * (outer * inner * rows * columns) as f64 <= most * 1.000_001);
                prop_assert!(piece.rows.start % tile == 0 && piece.columns.start % tile == 0);
                for other in &list[index + 1..] {
                    let apart = |a: &Range<usize>, b: &Range<usize>| a.end <= b.start || b.end <= a.start;
                    prop_assert!(
                        apart(&piece.outer, &other.outer)
                            || apart(&piece.inner, &other.inner)
                            || apart(&piece.rows, &other.rows)
                            || apart(&piece.columns, &other.columns)
                    );
                }
            }
        }
    }
}
