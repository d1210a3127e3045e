//! What a product makes of its sums before it stores them, so that it costs no pass of its own.

use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, View, grid, params, shader};
use crate::{Error, Result};

/// What comes after the sums, in this order. The matrices are laid out as the result is; all but a bias are stored as
/// activations are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Epilogue {
    /// `[n]` of f32, added to each row.
    pub bias: Option<View>,
    /// The rest.
    pub then: Then,
}

/// What comes after the bias.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Then {
    /// Nothing.
    #[default]
    Store,
    /// A matrix is added: a residual connection, or another part of a gradient.
    Add(View),
    /// `x Φ(x)`, and x is kept for the way back where there is one.
    Gelu(Option<View>),
    /// The way back: times the slope of GELU at x, the matrix that was kept.
    GeluSlope(View),
}

params! { rows: u32, columns: u32, stride: u32 }

const WORKGROUP: u32 = 64;
const EXAMPLE: &[Constant] = &[("WORKGROUP", WORKGROUP), ("RESULT", 3), ("BIAS", 1), ("OTHER", 1)];
const PASS: KernelSpec = KernelSpec::new(shader!("epilogue"), "add", [2, 1], LAYOUT, EXAMPLE);

/// The kernels, for the shader tests.
pub(super) const KERNELS: [KernelSpec; 3] = [
    PASS,
    KernelSpec { reads: 1, example: &[("WORKGROUP", WORKGROUP), ("RESULT", 2), ("BIAS", 1)], ..PASS },
    KernelSpec { reads: 1, example: &[("WORKGROUP", WORKGROUP), ("RESULT", 2), ("OTHER", 1)], ..PASS },
];

impl Epilogue {
    /// Adds `matrix` where there is one.
    pub(crate) fn add(matrix: Option<View>) -> Self {
        Epilogue { bias: None, then: matrix.map_or(Then::Store, Then::Add) }
    }

    /// Whether the sums are stored as they are.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Epilogue { bias: None, then: Then::Store })
    }

    /// Bytes that it adds to those of a product of `m` rows and `n` columns, whose matrices hold elements of so many.
    pub(crate) fn bytes(&self, [m, n]: [usize; 2], element: usize) -> usize {
        let matrix = match self.then {
            Then::Store | Then::Gelu(None) => 0,
            Then::Add(_) | Then::Gelu(Some(_)) | Then::GeluSlope(_) => m * n * element,
        };
        matrix + self.bias.map_or(0, |_| 4 * n)
    }

    /// What the kernel reads besides its operands.
    fn reads(&self) -> impl Iterator<Item = View> {
        let matrix = match self.then {
            Then::Add(matrix) | Then::GeluSlope(matrix) => Some(matrix),
            Then::Store | Then::Gelu(_) => None,
        };
        self.bias.into_iter().chain(matrix)
    }

    /// The kernel that does all this after the sums of `spec`, with the constants that make it so, and what it binds
    /// besides `reads` and `writes`.
    pub(crate) fn fit(
        &self,
        spec: KernelSpec,
        constants: &mut Vec<Constant>,
        reads: &mut Vec<View>,
        writes: &mut Vec<View>,
    ) -> KernelSpec {
        reads.extend(self.reads());
        constants.push(("RESULT", reads.len() as u32 + 1));
        constants.extend(self.bias.map(|_| ("BIAS", 1)));
        match self.then {
            Then::Store => {}
            Then::Add(_) => constants.push(("OTHER", 1)),
            Then::Gelu(kept) => {
                constants.push(("GELU", 1));
                constants.extend(kept.map(|_| ("KEEP", 1)));
                writes.extend(kept);
            }
            Then::GeluSlope(_) => constants.extend([("OTHER", 1), ("SLOPE", 1)]),
        }
        KernelSpec { reads: reads.len() as u32, writes: writes.len() as u32, ..spec }
    }

    /// Records the epilogue as a pass of its own over the result `c [rows, stride]`, whose first `columns` count: for adapters
    /// that are CPUs, where each further product kernel takes seconds to compile.
    pub(crate) fn pass(&self, graph: &mut Graph, c: View, [rows, columns, stride]: [usize; 3]) -> Result<()> {
        if let Then::Gelu(_) | Then::GeluSlope(_) = self.then {
            return Err(Error::Gpu {
                operation: "matmul".into(),
                message: "GELU has kernels of its own on adapters that are CPUs".into(),
            });
        }
        let params = Params { rows: rows as u32, columns: columns as u32, stride: stride as u32 };
        let (mut constants, mut reads, mut writes) = (vec![("WORKGROUP", WORKGROUP)], Vec::new(), vec![c]);
        let spec = self.fit(PASS, &mut constants, &mut reads, &mut writes);
        let groups = grid(rows * stride, WORKGROUP);
        let added = (reads.len() * rows * columns) as f64;
        graph
            .dispatch((&spec, &constants), params, &reads, &writes, groups)?
            .flops(added)
            .once_and(c.bytes as f64);
        Ok(())
    }
}
