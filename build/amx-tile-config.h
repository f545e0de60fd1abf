/* See llama-cpp.cmake. Redefines _tile_loadconfig with its full 64-byte memory operand, for GCC < 13 with AMX only. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13 && defined(__AMX_TILE__)
#include <immintrin.h>
struct mmprm_tile_config { char bytes[64]; };
#undef _tile_loadconfig
#define _tile_loadconfig(src) \
    __asm__ volatile("ldtilecfg\t%0" : : "m"(*(const struct mmprm_tile_config *)(src)))
#endif
