//! A Vulkan driver that only compiles: it makes pipelines and says what became of them.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use ash::{khr, vk};

/// The first device of the Vulkan loader, which need not be able to run anything.
pub struct Driver {
    /// What the driver calls the device.
    pub name: String,
    /// The driver and its version, as `Mesa 22.3.6`.
    pub version: String,
    /// The edges of the tiles that its matrix units take, and whether operands are f16; sums are f32.
    pub tiles: Vec<(u32, bool)>,
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    // Unloads the driver when it is dropped, so it comes last.
    _entry: ash::Entry,
}

/// What a driver made of a kernel.
pub struct Executable {
    /// Invocations that run as one.
    pub subgroup: u32,
    /// The driver's figures, by its names for them.
    pub statistics: BTreeMap<String, f64>,
    /// The instructions, in the driver's own notation; empty where it does not tell them.
    pub assembly: String,
}

/// What a kernel binds: a uniform first, then so many textures, then buffers.
#[derive(Clone, Copy)]
pub struct Bindings {
    pub textures: u32,
    pub all: u32,
}

/// The text in one of Vulkan's arrays of characters.
fn text(characters: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = characters.iter().map(|&c| c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).unwrap_or_default().to_string_lossy().into_owned()
}

impl Driver {
    /// Opens the device with what wgpu asks for: everything that changes how shaders are compiled, bounds of buffers
    /// that the hardware checks above all.
    pub fn open() -> Result<Driver, String> {
        // SAFETY: the loader is the system's, and what it hands out is used as Vulkan says and lives until the program ends.
        unsafe {
            let entry = ash::Entry::load().map_err(|e| format!("no Vulkan loader: {e}"))?;
            let about = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&about);
            let instance =
                entry.create_instance(&info, None).map_err(|e| format!("no Vulkan instance: {e}"))?;
            let devices = instance.enumerate_physical_devices().map_err(|e| format!("no device: {e}"))?;
            let physical = *devices.first().ok_or("the driver offers no device")?;
            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let name = text(&properties.properties.device_name);
            let info = text(&driver.driver_info);
            // Distributions add the revision of their package.
            let version = info.split(['-', '(']).next().unwrap_or_default().trim().to_owned();

            let offered = instance
                .enumerate_device_extension_properties(physical)
                .map_err(|e| format!("{name}: no list of extensions: {e}"))?;
            let has = |wanted: &CStr| offered.iter().any(|e| e.extension_name_as_c_str() == Ok(wanted));
            if !has(khr::pipeline_executable_properties::NAME) {
                return Err(format!("{name} ({info}) does not say what it compiles"));
            }
            let units = has(khr::cooperative_matrix::NAME);
            let mut tiles = Vec::new();
            if units {
                let asked = khr::cooperative_matrix::Instance::new(&entry, &instance);
                let listed = asked
                    .get_physical_device_cooperative_matrix_properties(physical)
                    .map_err(|e| format!("{name}: no list of tiles: {e}"))?;
                let (half, single) = (vk::ComponentTypeKHR::FLOAT16, vk::ComponentTypeKHR::FLOAT32);
                for tile in listed {
                    let square = tile.m_size == tile.n_size && tile.n_size == tile.k_size;
                    let summed = tile.c_type == single && tile.result_type == single;
                    let known = tile.a_type == tile.b_type && [half, single].contains(&tile.a_type);
                    if square && summed && known {
                        tiles.push((tile.m_size, tile.a_type == half));
                    }
                }
            }
            let robust = has(ash::ext::robustness2::NAME);
            let mut extensions = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
            let mut told = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
            let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
            let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
            let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
            let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
            let mut v13 = vk::PhysicalDeviceVulkan13Features::default();
            let mut features = vk::PhysicalDeviceFeatures2::default()
                .push_next(&mut v11)
                .push_next(&mut v12)
                .push_next(&mut v13)
                .push_next(&mut told);
            if units {
                extensions.push(khr::cooperative_matrix::NAME.as_ptr());
                features = features.push_next(&mut matrices);
            }
            if robust {
                extensions.push(ash::ext::robustness2::NAME.as_ptr());
                features = features.push_next(&mut robustness);
            }
            instance.get_physical_device_features2(physical, &mut features);
            let families = instance.get_physical_device_queue_family_properties(physical);
            let computes = |f: &vk::QueueFamilyProperties| f.queue_flags.contains(vk::QueueFlags::COMPUTE);
            let family =
                families.iter().position(computes).ok_or_else(|| format!("{name} cannot compute"))?;
            let queue = [vk::DeviceQueueCreateInfo::default()
                .queue_family_index(family as u32)
                .queue_priorities(&[1.0])];
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queue)
                .enabled_extension_names(&extensions)
                .push_next(&mut features);
            let device = instance
                .create_device(physical, &info, None)
                .map_err(|e| format!("{name} could not be opened: {e}"))?;
            let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
            Ok(Driver { name, version, tiles, device, executables, _entry: entry })
        }
    }

    /// Compiles `entry` of a module.
    pub fn compile(&self, words: &[u32], entry: &str, bindings: Bindings) -> Result<Executable, String> {
        let entry = CString::new(entry).map_err(|e| e.to_string())?;
        let bound: Vec<_> = (0..bindings.all)
            .map(|binding| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
                    .descriptor_type(match binding {
                        0 => vk::DescriptorType::UNIFORM_BUFFER,
                        binding if binding <= bindings.textures => vk::DescriptorType::SAMPLED_IMAGE,
                        _ => vk::DescriptorType::STORAGE_BUFFER,
                    })
            })
            .collect();
        let said = |what: &'static str| move |error: vk::Result| format!("{what}: {error}");
        // SAFETY: every structure lives until the call that takes it returns; the module is naga's and valid. Nothing is
        // destroyed, as the program ends when it has seen all kernels.
        unsafe {
            let layout = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bound);
            let sets = [self
                .device
                .create_descriptor_set_layout(&layout, None)
                .map_err(said("a layout of bindings"))?];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout =
                self.device.create_pipeline_layout(&layout, None).map_err(said("a layout of a pipeline"))?;
            let module = vk::ShaderModuleCreateInfo::default().code(words);
            let module = self.device.create_shader_module(&module, None).map_err(said("a module"))?;
            // wgpu allows the driver to choose the size of subgroups only to who asks for subgroups, which wgrad does not.
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&entry);
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(
                    vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
                )
                .layout(layout)
                .stage(stage);
            let pipelines = self
                .device
                .create_compute_pipelines(vk::PipelineCache::null(), &[info], None)
                .map_err(|(_, error)| format!("a pipeline: {error}"))?;
            self.look(pipelines[0])
        }
    }

    /// # Safety
    /// The pipeline is one of this device, made with both flags that capture.
    unsafe fn look(&self, pipeline: vk::Pipeline) -> Result<Executable, String> {
        let said = |error: vk::Result| format!("what became of a pipeline: {error}");
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: by this function's own condition, and each array is as long as the driver said that it must be.
        unsafe {
            let found = self.executables.get_pipeline_executable_properties(&info).map_err(said)?;
            let subgroup = found.first().ok_or("a pipeline without an executable")?.subgroup_size;
            let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            let statistics = self.executables.get_pipeline_executable_statistics(&info).map_err(said)?;
            let statistics = statistics
                .iter()
                .map(|statistic| {
                    let value = match statistic.format {
                        vk::PipelineExecutableStatisticFormatKHR::BOOL32 => f64::from(statistic.value.b32),
                        vk::PipelineExecutableStatisticFormatKHR::INT64 => statistic.value.i64 as f64,
                        vk::PipelineExecutableStatisticFormatKHR::UINT64 => statistic.value.u64 as f64,
                        _ => statistic.value.f64,
                    };
                    (text(&statistic.name), value)
                })
                .collect();
            // The first call says how long the texts are, the second one fills them in.
            let mut texts =
                self.executables.get_pipeline_executable_internal_representations(&info).map_err(said)?;
            let mut bytes: Vec<Vec<u8>> = texts.iter().map(|text| vec![0; text.data_size + 1]).collect();
            for (text, bytes) in texts.iter_mut().zip(&mut bytes) {
                text.p_data = bytes.as_mut_ptr().cast();
            }
            let mut count = texts.len() as u32;
            let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
            get(self.device.handle(), &info, &mut count, texts.as_mut_ptr()).result().map_err(said)?;
            let assembly = texts
                .iter()
                .zip(&bytes)
                .filter(|(about, _)| about.is_text != 0 && text(&about.name).contains("ssembly"))
                .filter_map(|(_, bytes)| Some(CStr::from_bytes_until_nul(bytes).ok()?.to_string_lossy()))
                .collect();
            Ok(Executable { subgroup, statistics, assembly })
        }
    }
}
