//! Matrix products, batched and strided: linear layers and attention are made of them.

pub(crate) mod bias;
mod epilogue;
mod feed_forward;
mod linear;
mod units;

pub(crate) use epilogue::Epilogue;
pub use feed_forward::feed_forward;
pub use linear::{Affine, affine, linear};

use serde::Serialize;

use self::units::example;
use super::Case;
use super::choices::{PRODUCTS, SUMS};
use super::pieces::{Piece, pieces};
use super::reduce;
use super::units::{AMD, APPLE, APPLE_F32, LAVAPIPE, NVIDIA, Units};
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Constant, KernelSpec, View, grid, not_in_pages, params, shader};
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
const TILED_NT: KernelSpec = KernelSpec { source: shader!("matmul_tiled"), textures: 0, ..SOFTWARE_NT };
const TILED_NN: KernelSpec = KernelSpec { entry: "nn", ..TILED_NT };
const TILED_TN: KernelSpec = KernelSpec { entry: "tn", ..TILED_NT };

/// Epilogues of the products on matrix units in the shader tests.
const ALONE: [Constant; 4] = [RESULT, ("BIAS", 0), ("GELU", 0), ("KEEP", 0)];
const WITH_GELU: [Constant; 4] = [("RESULT", 4), ("BIAS", 1), ("GELU", 1), ("KEEP", 1)];
const WITH_SLOPE: [Constant; 4] = [("RESULT", 4), ("OTHER", 1), ("SLOPE", 1), ("KEEP", 0)];
/// The layout that a product on matrix units is compiled for.
const NT: Constant = ("NT", 1);
const NN: Constant = ("NN", 1);
const TN: Constant = ("TN", 1);
const ADD: &[Constant] = &[("RESULT", 5), ("BIAS", 1), ("OTHER", 1)];
const GELU: &[Constant] = &[("RESULT", 4), ("BIAS", 1), ("GELU", 1), ("KEEP", 1)];
const SLOPE: &[Constant] = &[("RESULT", 4), ("OTHER", 1), ("SLOPE", 1)];
const COOPERATIVE_NT: KernelSpec = KernelSpec {
    source: not_in_pages(shader!("matmul_cooperative")),
    textures: 0,
    example: &example(NVIDIA, NT, ALONE),
    ..SOFTWARE_NT
};
const COOPERATIVE_NN: KernelSpec =
    KernelSpec { entry: "nn", example: &example(NVIDIA, NN, ALONE), ..COOPERATIVE_NT };
const COOPERATIVE_TN: KernelSpec =
    KernelSpec { entry: "tn", example: &example(NVIDIA, TN, ALONE), ..COOPERATIVE_NT };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[
    SOFTWARE_NT,
    SOFTWARE_NN,
    SOFTWARE_TN,
    TILED_NT,
    TILED_NN,
    TILED_TN,
    COOPERATIVE_NT,
    COOPERATIVE_NN,
    COOPERATIVE_TN,
    KernelSpec { example: &example(NVIDIA, NT, ALONE), ..COOPERATIVE_NT },
    KernelSpec { example: &example(NVIDIA, NN, ALONE), ..COOPERATIVE_NN },
    KernelSpec { example: &example(NVIDIA, TN, ALONE), ..COOPERATIVE_TN },
    KernelSpec { example: &example(AMD, TN, ALONE), ..COOPERATIVE_TN },
    KernelSpec { example: &example(APPLE, NT, ALONE), ..COOPERATIVE_NT },
    KernelSpec { example: &example(APPLE, NN, ALONE), ..COOPERATIVE_NN },
    KernelSpec { example: &example(APPLE_F32, NN, ALONE), ..COOPERATIVE_NN },
    KernelSpec { example: &example(APPLE_F32, TN, ALONE), ..COOPERATIVE_TN },
    KernelSpec { example: &example(LAVAPIPE, NT, ALONE), ..COOPERATIVE_NT },
    KernelSpec { example: &example(LAVAPIPE, TN, ALONE), ..COOPERATIVE_TN },
    KernelSpec { example: ADD, reads: 4, ..TILED_NT },
    KernelSpec { example: GELU, reads: 3, writes: 2, ..TILED_NT },
    KernelSpec { example: SLOPE, reads: 3, ..TILED_NN },
    KernelSpec { example: &example(NVIDIA, NT, WITH_GELU), reads: 3, writes: 2, ..COOPERATIVE_NT },
    KernelSpec { example: &example(APPLE, NN, WITH_SLOPE), reads: 3, ..COOPERATIVE_NN },
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

/// A matrix, or a batch of them numbered by two indices, within a buffer. All numbers are in elements and multiples
/// of 4, because rows may be read to the end of their last four elements.
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
    pub(crate) fn whole(view: View, width: usize) -> Self {
        Matrix { view, base: 0, row: width, outer: 0, inner: 0 }
    }

    /// The matrices that begin where `piece` does, at this row and column of each of them.
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
    pub(crate) fn single(layout: Layout, into: DType, [m, n, k]: [usize; 3]) -> Self {
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
    if graph.capabilities().kind == AdapterKind::Cpu && !after.is_nothing() {
        product(graph, whole, a, b, c)?;
        return after.pass(graph, c.view, [whole.m, whole.n, c.row]);
    }
    if let Some(depth) = part_of_sums(graph, &whole, &c, &after) {
        return in_parts(graph, whole, depth, a, b, c);
    }
    let mut part = whole;
    if whole.layout == Layout::Tn {
        while part.k > LONGEST_SUM {
            in_pieces(graph, Product { k: LONGEST_SUM, ..part }, a, b, c, after)?;
            a.base += LONGEST_SUM * a.row;
            b.base += LONGEST_SUM * b.row;
            part = Product { k: part.k - LONGEST_SUM, accumulate: true, ..part };
        }
    }
    in_pieces(graph, part, a, b, c, after)
}

/// The terms of a part, where a product has too few outputs to keep a GPU busy and sums so long that parts of them can be
/// computed side by side. It depends on the shape alone, so that sums have one order on
/// all GPUs that were not told otherwise ([`SUMS`]). The layout of linear
/// layers' forward pass (`nt`) has no parts: its M grows with the batch, and what a model computes of a text must not
/// depend on the texts beside it.
fn part_of_sums(graph: &Graph, product: &Product, c: &Matrix, after: &Epilogue) -> Option<usize> {
    let Product { m, n, k, batch, .. } = *product;
    let whole =
        product.layout != Layout::Nt && batch == (1, 1) && after.is_nothing() && (c.base, c.row) == (0, n);
    let chosen = graph.capabilities().choices.get(SUMS.name) != Some("whole");
    if graph.capabilities().kind != AdapterKind::Gpu || !whole || !chosen || !n.is_multiple_of(4) {
        return None;
    }
    let groups = (m.div_ceil(64) * n.div_ceil(64)).max(1);
    let parts = BUSY_GROUPS.div_ceil(groups).min(k / SHORTEST_PART).min(LARGEST_PARTS / (m * n).max(1));
    (parts > 1).then(|| k.div_ceil(parts).next_multiple_of(32))
}

/// Workgroups of 64 x 64 outputs that keep a large GPU busy.
const BUSY_GROUPS: usize = 512;
/// Terms of a part of a sum at least.
const SHORTEST_PART: usize = 512;
/// Elements of all parts at most: 64 MiB.
const LARGEST_PARTS: usize = 16 << 20;

/// Computes sums in parts of `depth` terms side by side, then adds them up in order.
fn in_parts(graph: &mut Graph, whole: Product, depth: usize, a: Matrix, b: Matrix, c: Matrix) -> Result<()> {
    let Product { layout, m, n, k, .. } = whole;
    let (full, rest) = (k / depth, k % depth);
    let parts = full + usize::from(rest > 0);
    let sums = graph.scratch("matmul", parts * m * n)?;
    let step = |x: Matrix, along_rows: bool| if along_rows { depth * x.row } else { depth };
    let (a_step, b_step) = (step(a, layout == Layout::Tn), step(b, layout != Layout::Nt));
    let part = Product { into: DType::F32, accumulate: false, ..whole };
    let place = Matrix { outer: m * n, ..Matrix::whole(sums, n) };
    let (a, b) = (Matrix { outer: a_step, ..a }, Matrix { outer: b_step, ..b });
    in_pieces(graph, Product { k: depth, batch: (full, 1), ..part }, a, b, place, Epilogue::default())?;
    if rest > 0 {
        let at = |x: Matrix| Matrix { base: x.base + full * x.outer, outer: 0, ..x };
        in_pieces(graph, Product { k: rest, ..part }, at(a), at(b), at(place), Epilogue::default())?;
    }
    reduce::sum_as([DType::F32, whole.into], graph, sums, [parts, m * n], c.view, whole.accumulate)
}

/// Records a product in as many dispatches as it takes for none to run long.
fn in_pieces(
    graph: &mut Graph,
    product: Product,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    after: Epilogue,
) -> Result<()> {
    let Product { layout, m, n, k, batch: (outer, inner), .. } = product;
    let tile = match graph.capabilities().kind {
        AdapterKind::Cpu => 16,
        AdapterKind::Gpu => 64,
    };
    let operations = 2.0 * k as f64;
    let list = pieces([outer, inner, m, n], tile, operations, graph.most_operations());
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
        return Err(Error::shape("matmul", "at least one term in each sum", format!("{product:?}")));
    }
    let aligned = |x: &Matrix| (x.base | x.row | x.outer | x.inner).is_multiple_of(4);
    if !(aligned(&a) && aligned(&b) && aligned(&c)) || (layout == Layout::Nt && !k.is_multiple_of(4)) {
        let found = format!("{product:?} of {a:?}, {b:?} into {c:?}");
        return Err(Error::shape("matmul", "rows and offsets in multiples of 4", found));
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
    let capabilities = graph.capabilities();
    let mut constants = vec![product.into.out_elem()];
    let plain = capabilities.choices.get(PRODUCTS.name) == Some("plain");
    let units = Units::of(capabilities, graph.storage()).filter(|_| !plain);
    let (spec, groups) = match (capabilities.kind, units) {
        (AdapterKind::Cpu, _) => {
            let [x, y, _] = grid(m.div_ceil(16) * n.div_ceil(16), 8);
            let spec = match layout {
                Layout::Nt => SOFTWARE_NT,
                Layout::Nn => SOFTWARE_NN,
                Layout::Tn => SOFTWARE_TN,
            };
            (spec, [x, y, batches])
        }
        (AdapterKind::Gpu, Some(units)) => {
            let (spec, layout) = match layout {
                Layout::Nt => (COOPERATIVE_NT, NT),
                Layout::Nn => (COOPERATIVE_NN, NN),
                Layout::Tn => (COOPERATIVE_TN, TN),
            };
            constants.push(layout);
            constants.extend(units::constants(units));
            (spec, tiles_of_64)
        }
        (AdapterKind::Gpu, None) => {
            let spec = match layout {
                Layout::Nt => TILED_NT,
                Layout::Nn => TILED_NN,
                Layout::Tn => TILED_TN,
            };
            (spec, tiles_of_64)
        }
    };
    let (mut reads, mut writes) = (vec![a.view, b.view], vec![c.view]);
    let operand = graph.storage();
    let spec = after.fit(spec, &mut constants, &mut reads, &mut writes);
    let dispatch = graph.dispatch((&spec, &constants), params, &reads, &writes, groups)?;
    let (element, result) = (operand.bytes() as usize, m * n * product.into.bytes() as usize);
    let added_to = if product.accumulate { result } else { 0 };
    let bytes = (m + n) * k * element + result + added_to + after.bytes([m, n], element);
    let flops = 2.0 * (m * n * k * outer * inner) as f64;
    dispatch.flops(flops).takes(flops).bytes((outer * inner * bytes) as f64);
    Ok(())
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    linear::cases().into_iter().chain(feed_forward::cases()).collect()
}
