//! A Vulkan device without the driver's own checks of what shaders load and store.
//!
//! wgpu asks every Vulkan driver for `robustBufferAccess`, for the sake of shaders that nobody knows. A driver whose GPU does not check by
//! itself then compares the place of every float with the end of its buffer, and splits a load of four. Our shaders are compiled without
//! checks as it is (`pipelines.rs`), and `tests/bounds.rs` holds each of their indices to its buffer. wgpu has no option for this, so the
//! device is made here, as wgpu's Vulkan backend makes it but for that feature, and handed to wgpu.

#[cfg(not(target_vendor = "apple"))]
use ash::vk;
#[cfg(not(target_vendor = "apple"))]
use wgpu::hal::api::Vulkan;

/// What came of asking for a device.
pub(super) type Opened = Result<(wgpu::Device, wgpu::Queue), String>;

/// A device of the adapter, its buffers unchecked; none where the adapter is not Vulkan's.
#[cfg(target_vendor = "apple")]
pub(super) fn unchecked(_: &wgpu::Adapter, _: &wgpu::DeviceDescriptor<'_>) -> Option<Opened> {
    None
}

/// A device of the adapter, its buffers unchecked; none where the adapter is not Vulkan's.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn unchecked(adapter: &wgpu::Adapter, descriptor: &wgpu::DeviceDescriptor<'_>) -> Option<Opened> {
    // SAFETY: the guard lives to the end of this function, and nothing of the adapter is destroyed.
    let hal = unsafe { adapter.as_hal::<Vulkan>() }?;
    let wgpu::DeviceDescriptor { required_features: features, required_limits: limits, memory_hints, .. } =
        descriptor;
    let extensions = hal.required_device_extensions(*features);
    let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
    // The only queue that wgpu uses.
    let family = 0;
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
    let mut enabled = hal.physical_device_features(&extensions, *features);
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
    let mut info = enabled.add_to_device_create(info);

    // SAFETY: `info` points to the features of core Vulkan that `enabled` holds, or to none.
    let core = unsafe { info.p_enabled_features.as_ref() }.copied().unwrap_or_default();
    let core = core.robust_buffer_access(false);
    info = info.enabled_features(&core);
    let mut next = info.p_next.cast::<vk::BaseOutStructure<'_>>().cast_mut();
    while !next.is_null() {
        // SAFETY: the chain consists of structures within `enabled`, which it borrows exclusively, and each says by its type what it is.
        unsafe {
            if (*next).s_type == vk::StructureType::PHYSICAL_DEVICE_ROBUSTNESS_2_FEATURES_EXT {
                (*next.cast::<vk::PhysicalDeviceRobustness2FeaturesEXT<'_>>()).robust_buffer_access2 =
                    vk::FALSE;
            }
            next = (*next).p_next;
        }
    }

    let instance = hal.shared_instance().raw_instance();
    // SAFETY: everything that `info` points to lives longer than the call.
    let device = match unsafe { instance.create_device(hal.raw_physical_device(), &info, None) } {
        Ok(device) => device,
        Err(error) => return Some(Err(error.to_string())),
    };
    // SAFETY: the device is of this adapter, and has the extensions, the queue and, but for the checks, the features that the backend
    // would have asked for. What relies on the checks is modules that are compiled with wgpu's; there are none.
    let opened =
        unsafe { hal.device_from_raw(device, None, &extensions, *features, limits, memory_hints, family, 0) };
    Some(opened.map_err(|error| error.to_string()).and_then(|opened| {
        // SAFETY: the device was made from this adapter, with what the descriptor asks for.
        unsafe { adapter.create_device_from_hal::<Vulkan>(opened, descriptor) }.map_err(|e| e.to_string())
    }))
}
