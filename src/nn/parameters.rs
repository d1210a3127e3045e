//! Named parameters, laid end to end in a few large buffers with their gradients beside them, so that an
//! optimizer step is a few large dispatches.

use std::borrow::Cow;
use std::collections::HashMap;

use half::f16;

use super::declare::{Declarations, Parameter, ParameterSpec};
use super::padding::{self, Padding};
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

/// A buffer of parameters that are updated alike, and of their gradients.
#[derive(Debug)]
pub struct Segment {
    /// The parameters' values.
    pub values: Buffer,
    /// The same values as f16, of the same layout, where precision is mixed.
    pub weights_f16: Option<Buffer>,
    /// Their gradients, of the same layout; none for those that are not trained.
    pub gradients: Option<Buffer>,
    /// The roles of the parameters in it.
    pub roles: Vec<Role>,
    /// How many elements there are, those of padding counted in.
    pub elements: usize,
}

#[derive(Debug)]
struct Place {
    name: String,
    /// As in files.
    shape: Vec<usize>,
    /// On the device.
    padded: Vec<usize>,
    padding: Option<Padding>,
    segment: usize,
    offset: usize,
}

impl Place {
    /// On the device.
    fn elements(&self) -> usize {
        self.padded.iter().product()
    }
}

/// All parameters of a model on a device.
#[derive(Debug)]
pub struct Parameters {
    gpu: Gpu,
    segments: Vec<Segment>,
    /// In the order of declaration; none for a parameter that is not on the device.
    places: Vec<Option<Place>>,
    names: HashMap<String, usize>,
}

impl Parameters {
    /// Makes room for parameters, all but the one that is `elsewhere`; those of one handle stand next to each other
    /// without gaps, so that they can be used as one. All values are zero. A segment holds what `division` puts
    /// together. Those that are `trained` have gradients, and come first.
    ///
    /// # Errors
    /// [`Error::Limit`] when what one handle stands for exceeds the largest binding, [`Error::OutOfMemory`].
    pub fn new(
        gpu: &Gpu,
        declarations: &Declarations,
        elsewhere: Option<Parameter>,
        division: Division,
        trained: impl Fn(Parameter) -> bool,
    ) -> Result<Self> {
        let limit = gpu.capabilities().max_binding as usize / 4;
        let usual = limit.min(SEGMENT);
        // The roles of each segment, its elements, and whether it is trained.
        let mut sizes: Vec<(Vec<Role>, usize, bool)> = Vec::new();
        let mut places: Vec<Option<Place>> = declarations.specs().iter().map(|_| None).collect();
        let parts =
            [true, false].into_iter().flat_map(|learns| division.parts().map(move |part| (learns, part)));
        for (learns, part) in parts {
            let mut open = false;
            let here = |handle: &&Parameter| Some(**handle) != elsewhere && trained(**handle) == learns;
            for &handle in declarations.handles().iter().filter(here) {
                let specs = declarations.of(handle);
                let Some(role) = specs.first().map(|spec| spec.role) else { continue };
                if division.part(role) != part {
                    continue;
                }
                let elements_of = |spec: &ParameterSpec| spec.padded_shape().iter().product::<usize>();
                let elements = specs.iter().map(elements_of).sum::<usize>();
                let elements = elements.next_multiple_of(ALIGNMENT);
                if elements > limit {
                    return Err(Error::Limit {
                        operation: format!("the parameter {}", specs[0].name),
                        adapter: gpu.capabilities().name.clone(),
                        expected: format!("{} bytes in one binding", elements * 4),
                        found: format!("at most {}", limit * 4),
                    });
                }
                let fits = sizes.last().is_some_and(|(_, used, _)| used + elements <= usual);
                if !(open && fits) {
                    sizes.push((Vec::new(), 0, learns));
                    open = true;
                }
                let segment = sizes.len() - 1;
                let mut offset = sizes[segment].1;
                sizes[segment].1 += elements;
                if !sizes[segment].0.contains(&role) {
                    sizes[segment].0.push(role);
                }
                for (index, spec) in (handle.first..).zip(specs) {
                    let (name, shape, padded) = (spec.name.clone(), spec.shape.clone(), spec.padded_shape());
                    let padding = spec.padding;
                    places[index] = Some(Place { name, shape, padded, padding, segment, offset });
                    offset += elements_of(spec);
                }
            }
        }
        let named = |(index, place): (usize, &Option<Place>)| Some((place.as_ref()?.name.clone(), index));
        let names = places.iter().enumerate().filter_map(named).collect();
        let segments = sizes
            .into_iter()
            .map(|(roles, elements, learns)| {
                let bytes = elements as u64 * 4;
                Ok(Segment {
                    values: gpu.buffer("the parameters", bytes)?,
                    weights_f16: None,
                    gradients: if learns { Some(gpu.buffer("the gradients", bytes)?) } else { None },
                    roles,
                    elements,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Parameters { gpu: gpu.clone(), segments, places, names })
    }

    /// Keeps f16 copies for recordings whose activations are f16: [`Parameters::write`] and the optimizer keep them
    /// equal to the values.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn with_weights_f16(mut self) -> Result<Self> {
        for segment in &mut self.segments {
            segment.weights_f16 =
                Some(self.gpu.buffer("the parameters as f16", segment.elements as u64 * 2)?);
        }
        Ok(self)
    }

    /// The device they are on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The buffers.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Those with gradients, which are the first of all.
    pub fn trained(&self) -> &[Segment] {
        let trained = self.segments.iter().take_while(|segment| segment.gradients.is_some()).count();
        &self.segments[..trained]
    }

    /// Names and shapes, as in files, in the order of declaration.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.places.iter().flatten().map(|place| (place.name.clone(), place.shape.clone())).collect()
    }

    fn place(&self, index: Option<usize>, what: &str) -> Result<&Place> {
        let place = index.and_then(|index| self.places.get(index)?.as_ref());
        place.ok_or_else(|| Error::config("parameter", "a parameter that is on the device", what))
    }

    /// Where `name` lies: its segment, first element and number of elements, its padding counted in.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that was not declared.
    pub fn locate(&self, name: &str) -> Result<(usize, usize, usize)> {
        let place = self.place(self.names.get(name).copied(), name)?;
        Ok((place.segment, place.offset, place.elements()))
    }

    /// The number of values of `name`, as in files.
    pub(crate) fn length(&self, name: &str) -> Result<usize> {
        Ok(self.place(self.names.get(name).copied(), name)?.shape.iter().product())
    }

    /// Values of the shape of `name`, as in files, as they lie on the device.
    pub(crate) fn padded<'v>(&self, name: &str, values: &'v [f32]) -> Result<Cow<'v, [f32]>> {
        let place = self.place(self.names.get(name).copied(), name)?;
        let elements = self.length(name)?;
        if values.len() != elements {
            let expected = format!("{elements} values for {name}");
            return Err(Error::shape("writing a parameter", expected, values.len()));
        }
        Ok(padding::padded(place.padding, &place.shape, values))
    }

    /// The reverse of [`Parameters::padded`].
    pub(crate) fn unpadded(&self, name: &str, values: Vec<f32>) -> Result<Vec<f32>> {
        let place = self.place(self.names.get(name).copied(), name)?;
        Ok(padding::unpadded(place.padding, &place.shape, values))
    }

    /// What a handle stands for, as a tensor of `graph`.
    ///
    /// # Errors
    /// [`Error::Config`] for what is not on the device, and for f16 activations without f16 copies.
    pub fn tensor(&self, graph: &mut Graph, parameter: Parameter) -> Result<Tensor> {
        let place = self.place(Some(parameter.first), "one that is elsewhere")?;
        let mut sizes = place.padded.clone();
        sizes[0] *= parameter.count;
        let shape = Shape::from(sizes.as_slice());
        let segment = &self.segments[place.segment];
        // Vectors are f32 always; matrices are what the activations are that they meet.
        let dtype = if place.shape.len() < 2 { DType::F32 } else { graph.storage() };
        let region = |buffer: &Buffer, dtype: DType| Region {
            buffer: buffer.clone(),
            offset: place.offset as u64 * dtype.bytes(),
            bytes: (shape.elements() as u64 * dtype.bytes()).next_multiple_of(16),
        };
        let buffer = match (dtype, &segment.weights_f16) {
            (DType::F16, Some(weights_f16)) => weights_f16,
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

    /// Has a `graph` that overwrites gradients zero those of the trained parameters to which it puts none.
    pub fn clear_unwritten(&self, graph: &mut Graph) {
        for place in self.places.iter().flatten() {
            let Some(gradients) = &self.segments[place.segment].gradients else { continue };
            let elements = place.elements() as u64;
            let region =
                Region { buffer: gradients.clone(), offset: place.offset as u64 * 4, bytes: elements * 4 };
            let view = graph.recorder().bind(&region);
            if graph.leaves(view) {
                graph.recorder().clear(view);
            }
        }
    }

    /// Reads the values of what a handle stands for.
    ///
    /// # Errors
    /// [`Error::Config`] for what is not on the device; as [`Gpu::read`].
    pub async fn values(&self, parameter: Parameter) -> Result<Vec<f32>> {
        let place = self.place(Some(parameter.first), "one that is elsewhere")?;
        let elements = parameter.count * place.elements();
        let values = &self.segments[place.segment].values;
        let values = self.gpu.read(values, place.offset as u64 * 4, elements).await?;
        // Those of several stand below each other, each padded alike.
        let mut shape = place.shape.clone();
        shape[0] *= parameter.count;
        Ok(padding::unpadded(place.padding, &shape, values))
    }

    /// Reads the values of a parameter.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that was not declared; as [`Gpu::read`].
    pub async fn read(&self, name: &str) -> Result<Vec<f32>> {
        let (segment, offset, elements) = self.locate(name)?;
        self.unpadded(name, self.gpu.read(&self.segments[segment].values, offset as u64 * 4, elements).await?)
    }

    /// Reads the accumulated gradient of a parameter.
    ///
    /// # Errors
    /// As [`Parameters::read`]; [`Error::Config`] for parameters that are not trained.
    pub async fn read_gradient(&self, name: &str) -> Result<Vec<f32>> {
        let (segment, offset, elements) = self.locate(name)?;
        let gradients = self.segments[segment].gradients.as_ref();
        let gradients = gradients.ok_or_else(|| Error::config("gradient", "trained parameters", name))?;
        self.unpadded(name, self.gpu.read(gradients, offset as u64 * 4, elements).await?)
    }

    /// Replaces the values of a parameter.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that was not declared, [`Error::Shape`] for another number of values.
    pub fn write(&self, name: &str, values: &[f32]) -> Result<()> {
        let (segment, offset, _) = self.locate(name)?;
        let values = &*self.padded(name, values)?;
        let Segment { values: buffer, weights_f16, .. } = &self.segments[segment];
        self.gpu.write(buffer, offset as u64 * 4, values);
        let Some(weights_f16) = weights_f16 else { return Ok(()) };
        // Buffers are written by fours of bytes: no matrix has an odd width, and after an odd vector, which f16
        // recordings do not read, comes padding.
        if offset.is_multiple_of(2) {
            let mut values: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
            values.resize(values.len().next_multiple_of(2), f16::ZERO);
            self.gpu.write(weights_f16, offset as u64 * 2, &values);
        }
        Ok(())
    }
}
