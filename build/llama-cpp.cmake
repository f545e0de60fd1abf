# Included by CMake right after llama.cpp's project() calls (CMAKE_PROJECT_INCLUDE, set in .cargo/config.toml).
#
# GCC before 13 declares the operand of _tile_loadconfig as 8 bytes although the instruction reads 64, so it drops the
# stores that fill the rest of the tile configuration and ggml's AMX kernels die at ldtilecfg. The header below gives the
# operand its true size. Other compilers read it and change nothing.
if(NOT MSVC)
  add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:SHELL:-include \"${CMAKE_CURRENT_LIST_DIR}/amx-tile-config.h\">")
endif()
