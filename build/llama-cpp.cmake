# Included by CMake right after llama.cpp's project() calls (CMAKE_PROJECT_INCLUDE, set in .cargo/config.toml).
#
# GCC before 13 declares the operand of _tile_loadconfig as 8 bytes although the instruction reads 64, so it drops the
# stores that fill the rest of the tile configuration and ggml's AMX kernels die at ldtilecfg. The header below gives the
# operand its true size. Other compilers read it and change nothing.
if(NOT MSVC)
  add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:SHELL:-include \"${CMAKE_CURRENT_LIST_DIR}/amx-tile-config.h\">")
endif()

# ggml's Vulkan backend uses an extension that the headers of Debian 12 lack; the header below declares it.
if(GGML_VULKAN AND NOT MSVC)
  find_path(MMPRM_VULKAN_HEADERS vulkan/vulkan_core.h HINTS "$ENV{VULKAN_SDK}/include")
  if(MMPRM_VULKAN_HEADERS)
    file(STRINGS "${MMPRM_VULKAN_HEADERS}/vulkan/vulkan_core.h" MMPRM_VULKAN_VERSION REGEX "^#define VK_HEADER_VERSION [0-9]+")
    string(REGEX REPLACE "[^0-9]*([0-9]+).*" "\\1" MMPRM_VULKAN_VERSION "${MMPRM_VULKAN_VERSION}")
    if(MMPRM_VULKAN_VERSION LESS 272)
      add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include \"${CMAKE_CURRENT_LIST_DIR}/vulkan-layer-settings.h\">")
    endif()
  endif()
endif()
