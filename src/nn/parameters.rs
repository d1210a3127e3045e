//! Named parameters, laid end to end in a few large buffers with their gradients beside them, so that an
//! optimizer step is a few large dispatches.

use std::collections::HashMap;

use half::f16;

use super::role::{Division, Role};
use crate::autograd::Graph;
use crate::gpu::{Buffer, Gpu, Region};
use crate::shape::Shape;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// A group begins at a multiple of this many elements: 256 bytes of f16, what every device can bind.
pub(crate) const ALIGNMENT: usize = 128;

/// Elements of a segment, unless a single group is larger: 128 MiB, what WebGPU binds at least. It does not grow with
/// what a device binds, because the order of the optimizer's sums follows from it.
const SEGMENT: usize = 32 << 20;

/// One parameter to make room for.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// Its name in files.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

/// A buffer of parameters that are updated alike, and of their gradients.
pub struct Segment {
    /// The parameters' values.
    pub values: Buffer,
    /// The same values as f16, of the same layout, where precision is mixed.
    pub halves: Option<Buffer>,
    /// Their gradients, of the same layout; none for inference.
    pub gradients: Option<Buffer>,
    /// The roles of the parameters in it.
    pub roles: Vec<Role>,
    /// How many elements there are, those of padding counted in.
    pub elements: usize,
}

#[derive(Debug, Clone)]
struct Place {
    shape: Vec<usize>,
    segment: usize,
    offset: usize,
}

/// All parameters of a model on a device.
pub struct Parameters {
    gpu: Gpu,
    segments: Vec<Segment>,
    names: Vec<String>,
    places: HashMap<String, Place>,
}

impl Parameters {
    /// Makes room for `groups` of parameters; those of one group stand next to each other without gaps, so that
    /// they can be used as one (queries, keys and values). All values are zero. A segment holds what `division` puts
    /// together.
    ///
    /// # Errors
    /// [`Error::Limit`] when a group exceeds the largest binding, [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, groups: &[Vec<Declaration>], division: Division, trained: bool) -> Result<Self> {
        let limit = gpu.capabilities().max_binding as usize / 4;
        let usual = limit.min(SEGMENT);
        let mut sizes: Vec<(Vec<Role>, usize)> = Vec::new();
        let mut names = Vec::new();
        let mut places = HashMap::new();
        for part in division.parts() {
            let mut open = false;
            for group in groups {
                let role = group.first().map(|declaration| declaration.role);
                let Some(role) = role.filter(|&role| division.part(role) == part) else { continue };
                let room = |d: &Declaration| d.shape.iter().product::<usize>();
                let elements = group.iter().map(room).sum::<usize>().next_multiple_of(ALIGNMENT);
                if elements > limit {
                    return Err(Error::Limit {
                        operation: format!("the parameter {}", group[0].name),
                        adapter: gpu.capabilities().name.clone(),
                        expected: format!(
                            "{} bytes in one binding (choose a smaller vocabulary or width)",
                            elements * 4
                        ),
                        found: format!("at most {}", limit * 4),
                    });
                }
                let fits = sizes.last().is_some_and(|(_, used)| used + elements <= usual);
                if !(open && fits) {
                    sizes.push((Vec::new(), 0));
                    open = true;
                }
                let segment = sizes.len() - 1;
                let mut offset = sizes[segment].1;
                sizes[segment].1 += elements;
                if !sizes[segment].0.contains(&role) {
                    sizes[segment].0.push(role);
                }
                for declaration in group {
                    let place = Place { shape: declaration.shape.clone(), segment, offset };
                    places.insert(declaration.name.clone(), place);
                    offset += room(declaration);
                }
            }
        }
        for declaration in groups.iter().flatten() {
            names.push(declaration.name.clone());
        }
        let segments = sizes
            .into_iter()
            .map(|(roles, elements)| {
                let bytes = elements as u64 * 4;
                Ok(Segment {
                    values: gpu.buffer("the parameters", bytes)?,
                    halves: None,
                    gradients: if trained { Some(gpu.buffer("the gradients", bytes)?) } else { None },
                    roles,
                    elements,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Parameters { gpu: gpu.clone(), segments, names, places })
    }

    /// Keeps f16 copies for recordings whose activations are f16: [`Parameters::write`] and the optimizer keep them
    /// equal to the values.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn with_halves(mut self) -> Result<Self> {
        for segment in &mut self.segments {
            segment.halves = Some(self.gpu.buffer("the parameters as f16", segment.elements as u64 * 2)?);
        }
        Ok(self)
    }

    /// The device they are on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The buffers, for an optimizer.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Names and shapes, in the order of declaration.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.names.iter().map(|name| (name.clone(), self.places[name].shape.clone())).collect()
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.places.get(name).ok_or_else(|| Error::config("parameter", "a parameter of the model", name))
    }

    /// Where `name` lies: its segment, first element and number of elements.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that was not declared.
    pub fn locate(&self, name: &str) -> Result<(usize, usize, usize)> {
        let place = self.place(name)?;
        Ok((place.segment, place.offset, place.shape.iter().product()))
    }

    /// The parameter as a tensor of `graph`.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that was not declared; [`Error::Shape`] for one inside a group that does not
    /// begin where a device can bind it.
    pub fn tensor(&self, graph: &mut Graph, name: &str) -> Result<Tensor> {
        let place = self.place(name)?.clone();
        if !place.offset.is_multiple_of(ALIGNMENT) {
            return Err(Error::Shape {
                operation: "parameter",
                expected: format!("{name} at a multiple of {ALIGNMENT} elements, or stacked with its group"),
                found: place.offset.to_string(),
            });
        }
        self.bind(graph, &place, place.shape.as_slice().into())
    }

    /// Parameters of one group, one below the other, as one tensor: `[out, in]` each become
    /// `[count · out, in]`.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that was not declared, [`Error::Shape`] when they do not stand next to
    /// each other without gaps.
    pub fn stacked(&self, graph: &mut Graph, names: &[String]) -> Result<Tensor> {
        let first = names.first().map_or("", String::as_str);
        let place = self.place(first)?.clone();
        let elements: usize = place.shape.iter().product();
        for (index, name) in names.iter().enumerate() {
            let other = self.place(name)?;
            let expected = place.offset + index * elements;
            if (other.segment, other.offset, &other.shape) != (place.segment, expected, &place.shape) {
                return Err(Error::Shape {
                    operation: "stacked parameters",
                    expected: format!("{name} next to {first} and of its shape"),
                    found: format!("{other:?}"),
                });
            }
        }
        let mut shape = place.shape.clone();
        shape[0] *= names.len();
        self.bind(graph, &place, shape.as_slice().into())
    }

    fn bind(&self, graph: &mut Graph, place: &Place, shape: Shape) -> Result<Tensor> {
        let segment = &self.segments[place.segment];
        // Vectors are f32 always; matrices are what the activations are that they meet.
        let dtype = if place.shape.len() < 2 { DType::F32 } else { graph.storage() };
        let region = |buffer: &Buffer, dtype: DType| Region {
            buffer: buffer.clone(),
            offset: place.offset as u64 * dtype.bytes(),
            bytes: (shape.elements() as u64 * dtype.bytes()).next_multiple_of(16),
        };
        let buffer = match (dtype, &segment.halves) {
            (DType::F16, Some(halves)) => halves,
            (DType::F16, None) => {
                return Err(Error::config("parameters", "f16 copies for f16 activations", "f32 only"));
            }
            _ => &segment.values,
        };
        let values = region(buffer, dtype);
        match &segment.gradients {
            Some(gradients) => {
                let gradients = region(gradients, DType::F32);
                graph.parameter_as(dtype, values, gradients, shape)
            }
            None => graph.input(values, shape, dtype),
        }
    }

    /// Reads the values of a parameter.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that was not declared; as [`Gpu::read`].
    pub async fn read(&self, name: &str) -> Result<Vec<f32>> {
        let (segment, offset, elements) = self.locate(name)?;
        self.gpu.read(&self.segments[segment].values, offset as u64 * 4, elements).await
    }

    /// Reads the accumulated gradient of a parameter.
    ///
    /// # Errors
    /// As [`Parameters::read`]; [`Error::Config`] for parameters that are not trained.
    pub async fn read_gradient(&self, name: &str) -> Result<Vec<f32>> {
        let (segment, offset, elements) = self.locate(name)?;
        let gradients = self.segments[segment].gradients.as_ref();
        let gradients = gradients.ok_or_else(|| Error::config("gradient", "trained parameters", name))?;
        self.gpu.read(gradients, offset as u64 * 4, elements).await
    }

    /// Replaces the values of a parameter.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that was not declared, [`Error::Shape`] for another number of values.
    pub fn write(&self, name: &str, values: &[f32]) -> Result<()> {
        let (segment, offset, elements) = self.locate(name)?;
        if values.len() != elements {
            return Err(Error::Shape {
                operation: "writing a parameter",
                expected: format!("{elements} values for {name}"),
                found: values.len().to_string(),
            });
        }
        let Segment { values: buffer, halves, .. } = &self.segments[segment];
        self.gpu.write(buffer, offset as u64 * 4, values);
        let Some(halves) = halves else { return Ok(()) };
        // Buffers are written by fours of bytes: no matrix has an odd width, and after an odd vector, which f16
        // recordings do not read, comes padding.
        if offset.is_multiple_of(2) {
            let mut values: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
            values.resize(values.len().next_multiple_of(2), f16::ZERO);
            self.gpu.write(halves, offset as u64 * 2, &values);
        }
        Ok(())
    }
}
