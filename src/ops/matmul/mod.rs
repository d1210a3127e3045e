//! Matrix products, batched and strided: linear layers and attention are made of them.

pub(crate) mod bias;
mod epilogue;
mod feed_forward;
mod linear;

pub(crate) use epilogue::Epilogue;
pub use feed_forward::feed_forward;
pub use linear::{Affine, affine, linear};

use serde::Serialize;

use super::Case;
use super::pieces::{Piece, pieces};
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Constant, F16, KernelSpec, TILE, View, grid, params, shader};
use crate::tensor::DType;
use crate::{Error, Result};

params! {
    m: u32, n: u32, k: u32,
    lda: u32, ldb: u32, ldc: u32,
    inner: u32,
    a_base: u32, a_outer: u32, a_inner: u32,
    b_base: u32, b_outer: u32, b_inner: u32,
    c_base: u32, c_outer: u32, c_inner: u32,
    column: u32,
    accumulate: u32,
    scale: f32,
}

/// The binding of the result where nothing is read but the operands.
const RESULT: Constant = ("RESULT", 3);

const SOFTWARE_NT: KernelSpec = KernelSpec {
    source: shader!("matmul_software"),
    entry: "nt",
    reads: 2,
    textures: 2,
    writes: 1,
    params: LAYOUT,
    example: &[RESULT],
};
const SOFTWARE_NN: KernelSpec = KernelSpec { entry: "nn", ..SOFTWARE_NT };
const SOFTWARE_TN: KernelSpec = KernelSpec { entry: "tn", ..SOFTWARE_NT };
const TILED_NT: KernelSpec =
    KernelSpec { source: shader!("matmul_tiled"), textures: 0, example: TILED_64, ..SOFTWARE_NT };
const TILED_NN: KernelSpec = KernelSpec { entry: "nn", ..TILED_NT };
const TILED_TN: KernelSpec = KernelSpec { entry: "tn", ..TILED_NT };

/// Workgroups of 64 x 64 and of 128 x 128 outputs.
const SMALL: &[Constant] = &[("SIZE", 64), ("HALVES", 1)];
const LARGE: &[Constant] = &[("SIZE", 128), ("HALVES", 2)];
/// Complete sets, for the shader tests.
const TILED_64: &[Constant] = &[RESULT, SMALL[0], SMALL[1]];
const TILED_128: &[Constant] = &[RESULT, LARGE[0], LARGE[1]];

/// Workgroups of 128 x 128 outputs that there must be for a GPU to be kept busy by them: each does four times the work
/// of one of 64 x 64 with half the loads.
const ENOUGH_GROUPS: usize = 64;

/// Tiles of 16 x 16 on the units of NVIDIA and AMD, of 8 x 8 on Apple's; the other constants follow from that.
const TILE_16: &[Constant] = &[(F16, 1), (TILE, 16), ("PER", 2), ("TILES", 4), ("SUMS", 1024)];
const TILE_8: &[Constant] = &[(F16, 1), (TILE, 8), ("PER", 4), ("TILES", 16), ("SUMS", 256)];
/// Complete sets, for the shader tests.
const ALONE_16: &[Constant] =
    &[RESULT, (F16, 1), (TILE, 16), ("PER", 2), ("TILES", 4), ("SUMS", 1024)];
const ALONE_8: &[Constant] = &[RESULT, (F16, 1), (TILE, 8), ("PER", 4), ("TILES", 16), ("SUMS", 256)];
const GELU_16: &[Constant] =
    &[("RESULT", 4), ("BIAS", 1), ("GELU", 1), ("KEEP", 1), (F16, 1), (TILE, 16), ("PER", 2), ("TILES", 4), ("SUMS", 1024)];
const SLOPE_8: &[Constant] =
    &[("RESULT", 4), ("OTHER", 1), ("SLOPE", 1), (F16, 1), (TILE, 8), ("PER", 4), ("TILES", 16), ("SUMS", 256)];
const ADD: &[Constant] = &[("RESULT", 5), ("BIAS", 1), ("OTHER", 1), SMALL[0], SMALL[1]];
const GELU: &[Constant] = &[("RESULT", 4), ("BIAS", 1), ("GELU", 1), ("KEEP", 1), LARGE[0], LARGE[1]];
const SLOPE: &[Constant] = &[("RESULT", 4), ("OTHER", 1), ("SLOPE", 1), LARGE[0], LARGE[1]];
const COOPERATIVE_NT: KernelSpec =
    KernelSpec { source: shader!("matmul_cooperative"), textures: 0, example: ALONE_16, ..SOFTWARE_NT };
const COOPERATIVE_NN: KernelSpec = KernelSpec { entry: "nn", ..COOPERATIVE_NT };
const COOPERATIVE_TN: KernelSpec = KernelSpec { entry: "tn", ..COOPERATIVE_NT };

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[
    SOFTWARE_NT,
    SOFTWARE_NN,
    SOFTWARE_TN,
    TILED_NT,
    TILED_NN,
    TILED_TN,
    KernelSpec { example: TILED_128, ..TILED_NT },
    KernelSpec { example: TILED_128, ..TILED_NN },
    KernelSpec { example: TILED_128, ..TILED_TN },
    COOPERATIVE_NT,
    COOPERATIVE_NN,
    COOPERATIVE_TN,
    KernelSpec { example: ALONE_8, ..COOPERATIVE_NT },
    KernelSpec { example: ALONE_8, ..COOPERATIVE_NN },
    KernelSpec { example: ALONE_8, ..COOPERATIVE_TN },
    KernelSpec { example: ADD, reads: 4, ..TILED_NT },
    KernelSpec { example: GELU, reads: 3, writes: 2, ..TILED_NT },
    KernelSpec { example: SLOPE, reads: 3, ..TILED_NN },
    KernelSpec { example: GELU_16, reads: 3, writes: 2, ..COOPERATIVE_NT },
    KernelSpec { example: SLOPE_8, reads: 3, ..COOPERATIVE_NN },
    bias::PARTIALS,
    epilogue::KERNELS[0],
    epilogue::KERNELS[1],
    epilogue::KERNELS[2],
];

/// Which operand is stored transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `c[m,n] = Σ a[m,k] b[n,k]`
    Nt,
    /// `c[m,n] = Σ a[m,k] b[k,n]`; columns of `a` from `k` to the next multiple of 4 must be zero.
    Nn,
    /// `c[m,n] = Σ a[k,m] b[k,n]`
    Tn,
}

/// A matrix, or a batch of them numbered by two indices, within a buffer. All in elements, all multiples of
/// 4: rows may be read to the end of their last four elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    pub view: View,
    pub base: usize,
    /// From one row to the next.
    pub row: usize,
    /// From one matrix to the next along the slower and the faster batch index.
    pub outer: usize,
    pub inner: usize,
}

impl Matrix {
    /// One matrix of rows `width` apart.
    pub fn whole(view: View, width: usize) -> Self {
        Matrix { view, base: 0, row: width, outer: 0, inner: 0 }
    }

    /// It from where `piece` begins, and from row `row` and column `column` of each matrix on.
    fn from(self, piece: &Piece, row: usize, column: usize) -> Self {
        let batch = piece.outer.start * self.outer + piece.inner.start * self.inner;
        Matrix { base: self.base + batch + row * self.row + column, ..self }
    }
}

/// A batch of products of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub layout: Layout,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Matrices along the slower and the faster batch index.
    pub batch: (usize, usize),
    /// Factor of the result.
    pub scale: f32,
    /// Whether to add to what `c` holds.
    pub accumulate: bool,
    /// How `c` is stored.
    pub into: DType,
}

impl Product {
    /// A single product into a matrix of `into`.
    pub fn single(layout: Layout, into: DType, [m, n, k]: [usize; 3]) -> Self {
        Product { layout, m, n, k, batch: (1, 1), scale: 1.0, accumulate: false, into }
    }
}

/// Rows that one dispatch of a `tn` product sums: some drivers (lavapipe) end an invocation's loops without
/// a word after 65535 rounds, and no dispatch should run long.
const LONGEST_SUM: usize = 1 << 15;

/// Appends `c = scale · a b (+ c)`.
pub(crate) fn product(graph: &mut Graph, whole: Product, a: Matrix, b: Matrix, c: Matrix) -> Result<()> {
    product_with(graph, whole, a, b, c, Epilogue::default())
}

/// [`product`], and what comes after: of a single product into a whole matrix, which is not `tn`.
pub(crate) fn product_with(
    graph: &mut Graph,
    whole: Product,
    mut a: Matrix,
    mut b: Matrix,
    c: Matrix,
    after: Epilogue,
) -> Result<()> {
    if graph.gpu().capabilities().kind == AdapterKind::Software && !after.is_nothing() {
        product(graph, whole, a, b, c)?;
        return after.pass(graph, c.view, [whole.m, whole.n, c.row]);
    }
    let mut part = whole;
    if whole.layout == Layout::Tn {
        while part.k > LONGEST_SUM {
            cut(graph, Product { k: LONGEST_SUM, ..part }, a, b, c, after)?;
            a.base += LONGEST_SUM * a.row;
            b.base += LONGEST_SUM * b.row;
            part = Product { k: part.k - LONGEST_SUM, accumulate: true, ..part };
        }
    }
    cut(graph, part, a, b, c, after)
}

/// As many dispatches as it takes for none to run long.
fn cut(
    graph: &mut Graph,
    product: Product,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    after: Epilogue,
) -> Result<()> {
    let Product { layout, m, n, k, batch: (outer, inner), .. } = product;
    let tile = match graph.gpu().capabilities().kind {
        AdapterKind::Software => 16,
        AdapterKind::Plain => 64,
    };
    let operations = 2.0 * k as f64;
    let list = pieces([outer, inner, m, n], tile, operations, graph.gpu().most_operations());
    if list.len() <= 1 {
        return dispatch(graph, product, 0, [a, b, c], after);
    }
    for piece in &list {
        let (row, column) = (piece.rows.start, piece.columns.start);
        let a = match layout {
            Layout::Nt | Layout::Nn => a.from(piece, row, 0),
            Layout::Tn => a.from(piece, 0, row),
        };
        let b = match layout {
            Layout::Nt => b.from(piece, column, 0),
            Layout::Nn | Layout::Tn => b.from(piece, 0, column),
        };
        let batch = (piece.outer.len(), piece.inner.len());
        let part = Product { m: piece.rows.len(), n: piece.columns.len(), batch, ..product };
        dispatch(graph, part, column, [a, b, c.from(piece, row, column)], after)?;
    }
    Ok(())
}

/// The piece of a product that begins at `column` of each of its matrices.
fn dispatch(
    graph: &mut Graph,
    product: Product,
    column: usize,
    [a, b, c]: [Matrix; 3],
    after: Epilogue,
) -> Result<()> {
    let Product { layout, m, n, k, batch: (outer, inner), .. } = product;
    if m * n * outer * inner == 0 || (k == 0 && product.accumulate) {
        return Ok(());
    }
    if k == 0 {
        return Err(Error::Shape {
            operation: "matmul",
            expected: "at least one term in each sum".into(),
            found: format!("{product:?}"),
        });
    }
    let aligned = |x: &Matrix| (x.base | x.row | x.outer | x.inner).is_multiple_of(4);
    if !(aligned(&a) && aligned(&b) && aligned(&c)) || (layout == Layout::Nt && !k.is_multiple_of(4)) {
        return Err(Error::Shape {
            operation: "matmul",
            expected: "rows and offsets in multiples of 4".into(),
            found: format!("{product:?} of {a:?}, {b:?} into {c:?}"),
        });
    }
    let params = Params {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        lda: a.row as u32,
        ldb: b.row as u32,
        ldc: c.row as u32,
        inner: inner as u32,
        a_base: a.base as u32,
        a_outer: a.outer as u32,
        a_inner: a.inner as u32,
        b_base: b.base as u32,
        b_outer: b.outer as u32,
        b_inner: b.inner as u32,
        c_base: c.base as u32,
        c_outer: c.outer as u32,
        c_inner: c.inner as u32,
        column: column as u32,
        accumulate: product.accumulate.into(),
        scale: product.scale,
    };
    let batches = (outer * inner) as u32;
    let tiles_of_64 = [n.div_ceil(64) as u32, m.div_ceil(64) as u32, batches];
    let capabilities = graph.gpu().capabilities();
    let mut constants = vec![product.into.out_elem()];
    let units = capabilities.matrix_tile.filter(|_| graph.storage() == DType::F16);
    if let Some(tile) = units {
        constants.extend(if tile == 16 { TILE_16 } else { TILE_8 });
    }
    let (spec, groups) = match capabilities.kind {
        AdapterKind::Software => {
            let [x, y, _] = grid(m.div_ceil(16) * n.div_ceil(16), 8);
            let spec = match layout {
                Layout::Nt => SOFTWARE_NT,
                Layout::Nn => SOFTWARE_NN,
                Layout::Tn => SOFTWARE_TN,
            };
            (spec, [x, y, batches])
        }
        AdapterKind::Plain if units.is_some() => {
            let spec = match layout {
                Layout::Nt => COOPERATIVE_NT,
                Layout::Nn => COOPERATIVE_NN,
                Layout::Tn => COOPERATIVE_TN,
            };
            (spec, tiles_of_64)
        }
        AdapterKind::Plain => {
            let spec = match layout {
                Layout::Nt => TILED_NT,
                Layout::Nn => TILED_NN,
                Layout::Tn => TILED_TN,
            };
            let large = [n.div_ceil(128), m.div_ceil(128), outer * inner];
            if m.min(n) > 64 && large.iter().product::<usize>() >= ENOUGH_GROUPS {
                constants.extend(LARGE);
                (spec, large.map(|count| count as u32))
            } else {
                constants.extend(SMALL);
                (spec, tiles_of_64)
            }
        }
    };
    let (mut reads, mut writes) = (vec![a.view, b.view], vec![c.view]);
    let spec = after.fit(spec, &mut constants, &mut reads, &mut writes);
    graph.dispatch((&spec, &constants), params, &reads, &writes, groups)?;
    graph.recorder().counts(2.0 * (m * n * k * outer * inner) as f64);
    Ok(())
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    linear::cases().into_iter().chain(feed_forward::cases()).collect()
}
