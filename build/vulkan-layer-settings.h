/* See llama-cpp.cmake. What ggml's Vulkan backend uses of VK_EXT_layer_settings, for Vulkan headers from before it (1.3.272): the
 * C structures of its specification under their C++ names. They are read only where the validation layer is installed. */
#ifdef __cplusplus
#include <cstdint>
#include <vector>
namespace vk {
enum class LayerSettingTypeEXT : std::int32_t { eBool32 = 0 };
struct LayerSettingEXT {
    const char *layer_name;
    const char *setting_name;
    LayerSettingTypeEXT type;
    std::uint32_t value_count;
    const void *values;
};
struct LayerSettingsCreateInfoEXT {
    explicit LayerSettingsCreateInfoEXT(const std::vector<LayerSettingEXT> &all)
        : count(static_cast<std::uint32_t>(all.size())), settings(all.data()) {}
    std::int32_t structure_type = 1000496000;
    const void *next = nullptr;
    std::uint32_t count;
    const LayerSettingEXT *settings;
};
}
#endif
