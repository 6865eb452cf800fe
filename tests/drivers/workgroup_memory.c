// A Vulkan layer that reports 48 KiB of workgroup memory, as desktop GPUs have it: llvmpipe says 32 KiB, but allocates what a shader
// declares. So the variants that need more run in software too. Used by run.sh.
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

static PFN_vkGetInstanceProcAddr next_address;
static PFN_vkGetPhysicalDeviceProperties next_properties;
static PFN_vkGetPhysicalDeviceProperties2 next_properties2;

static VkResult VKAPI_CALL create(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *allocator, VkInstance *out) {
    VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerInstanceCreateInfo *)link->pNext;
    if (!link)
        return VK_ERROR_INITIALIZATION_FAILED;
    next_address = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    VkResult result = ((PFN_vkCreateInstance)next_address(NULL, "vkCreateInstance"))(info, allocator, out);
    if (result == VK_SUCCESS) {
        next_properties = (PFN_vkGetPhysicalDeviceProperties)next_address(*out, "vkGetPhysicalDeviceProperties");
        next_properties2 = (PFN_vkGetPhysicalDeviceProperties2)next_address(*out, "vkGetPhysicalDeviceProperties2");
    }
    return result;
}

static void VKAPI_CALL properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *out) {
    next_properties(device, out);
    out->limits.maxComputeSharedMemorySize = 49152;
}

static void VKAPI_CALL properties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *out) {
    next_properties2(device, out);
    out->properties.limits.maxComputeSharedMemorySize = 49152;
}

static PFN_vkVoidFunction VKAPI_CALL address(VkInstance instance, const char *name) {
    if (!strcmp(name, "vkCreateInstance"))
        return (PFN_vkVoidFunction)create;
    if (!strcmp(name, "vkGetInstanceProcAddr"))
        return (PFN_vkVoidFunction)address;
    if (!strcmp(name, "vkGetPhysicalDeviceProperties"))
        return (PFN_vkVoidFunction)properties;
    if (!strcmp(name, "vkGetPhysicalDeviceProperties2") || !strcmp(name, "vkGetPhysicalDeviceProperties2KHR"))
        return (PFN_vkVoidFunction)properties2;
    return next_address ? next_address(instance, name) : NULL;
}

VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface) {
    interface->loaderLayerInterfaceVersion = 2;
    interface->pfnGetInstanceProcAddr = address;
    interface->pfnGetDeviceProcAddr = NULL;
    interface->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
