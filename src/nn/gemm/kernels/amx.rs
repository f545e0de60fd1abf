//! The AMX kernel: 32 × 32 of C in four tile registers.
//!
//! AMX intrinsics are unstable in Rust, so the instructions are inline assembly. A tile register
//! has 16 rows of 64 bytes. `tdpbf16ps` multiplies 16 rows of A of 16 pairs each by 16 rows of B,
//! one per pair along k, of 16 columns each; so a panel of A is `[units / 16, 32, 16]` and one of B
//! `[units, 32]`, of which each tile register loads half a row. Linux enables the tile registers
//! only for processes that request them.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use super::micro::{MicroKernel, Scale, check, write_sums};
use crate::nn::tensor::MatMut;

/// Rows of a tile register, and units along k per instruction.
const TILE: usize = 16;
const MR: usize = 2 * TILE;
const NR: usize = 2 * TILE;

pub(super) static KERNEL: MicroKernel<u32> = MicroKernel { mr: MR, nr: NR, depth: TILE, tile, unpacked: None };

/// Whether the processor has AMX-BF16 and the operating system lets this process use it.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && may_use_tiles())
}

/// Reads CPUID leaf 7: EDX bit 22 is AMX-BF16, bit 24 AMX-TILE. EAX of leaf 0 is the highest leaf.
fn has_instructions() -> bool {
    const REQUIRED: u32 = 1 << 22 | 1 << 24;
    // Leaf 7 may be queried only where it exists.
    __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).edx & REQUIRED == REQUIRED
}

/// Calls `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, which applies to all threads of the
/// process.
fn may_use_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the system call accesses no memory of this process; rcx and r11, which every system
    // call clobbers, are declared.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result == 0
}

/// Memory layout of `ldtilecfg` for palette 1: bytes per row at 16, rows at 48.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tile registers of 16 rows of 64 bytes.
static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

fn tile(units: usize, a: &[u32], b: &[u32], scale: Scale, c: MatMut<'_, f32>) {
    check(&KERNEL, units, a, b, &c);
    let mut sums = [0.0f32; MR * NR];
    // SAFETY: `check` made sure that the panels hold `units` units (a multiple of 16) per row and
    // column, so every load stays inside: a block of A is two tiles of 1024 bytes, one of B 16 rows
    // of 128 bytes. The stores cover `sums` exactly. `Kernel::family` returns this kernel only
    // where `is_available`, and the tile state is released at the end.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {blocks}, {blocks}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{a} + {a_row}*1]",
            "tileloadd tmm6, [{b} + {b_row}*1]",
            "tileloadd tmm7, [{b} + {b_row}*1 + 64]",
            "tileloadd tmm5, [{a} + {a_row}*1 + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {blocks}",
            "jnz 2b",
            "3:",
            "tilestored [{sums} + {b_row}*1], tmm0",
            "tilestored [{sums} + {b_row}*1 + 64], tmm1",
            "tilestored [{sums} + {b_row}*1 + 2048], tmm2",
            "tilestored [{sums} + {b_row}*1 + 2112], tmm3",
            "tilerelease",
            config = in(reg) &raw const CONFIG,
            blocks = inout(reg) units / TILE => _,
            a = inout(reg) a.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            sums = in(reg) sums.as_mut_ptr(),
            a_row = in(reg) 64usize,
            b_row = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
    write_sums(&sums, NR, scale, c);
}

/// Emulates the instructions above on the same panels, register by register.
#[cfg(test)]
pub(in crate::nn::gemm) fn emulated(units: usize, a: &[u32], b: &[u32], scale: Scale, c: MatMut<'_, f32>) {
    check(&KERNEL, units, a, b, &c);
    let half = |pair: u32, which: usize| f32::from_bits(pair >> (16 * which) << 16);
    let mut sums = [0.0f32; MR * NR];
    for (a, b) in a.chunks_exact(MR * TILE).zip(b.chunks_exact(TILE * NR)).take(units / TILE) {
        for (down, right) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for k in 0..TILE {
                for row in down * TILE..(down + 1) * TILE {
                    for col in right * TILE..(right + 1) * TILE {
                        let (x, y) = (a[row * TILE + k], b[k * NR + col]);
                        sums[row * NR + col] += half(x, 0) * half(y, 0);
                        sums[row * NR + col] += half(x, 1) * half(y, 1);
                    }
                }
            }
        }
    }
    write_sums(&sums, NR, scale, c);
}

/// The kernel with [`emulated`] arithmetic, to test packing on processors without AMX.
#[cfg(test)]
pub(in crate::nn::gemm) static EMULATED: MicroKernel<u32> =
    MicroKernel { mr: MR, nr: NR, depth: TILE, tile: emulated, unpacked: None };
