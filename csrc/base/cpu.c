/* Detection of instruction sets. CPUID alone is not enough: the operating system must
 * also save the wide registers, which XGETBV tells (OSXSAVE says that it may be asked).
 */
#include "base/cpu.h"

#include "base/processor.h"

#if defined(XR_X86_64)
enum {
    LEAF1_ECX_FMA = 1 << 12,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF1_ECX_AVX = 1 << 28,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16,
    LEAF7_EBX_AVX512DQ = 1 << 17,
    LEAF7_EBX_AVX512BW = 1 << 30,
    XCR0_YMM = 0x06, /* SSE and AVX state */
    XCR0_ZMM = 0xe6  /* and the opmask, upper-half and high-register state */
};
static const uint32_t LEAF7_EBX_AVX512VL = UINT32_C(1) << 31;

static int has_all(uint32_t value, uint32_t bits) { return (value & bits) == bits; }

static int has_leaf7(uint32_t ebx_bits, uint64_t registers)
{
    enum { EBX = 1, ECX = 2 };
    uint32_t first[4], seventh[4];
    ask_processor(1, first);
    ask_processor(7, seventh);
    return has_all(first[ECX], LEAF1_ECX_FMA | LEAF1_ECX_OSXSAVE | LEAF1_ECX_AVX) &&
           (saved_registers() & registers) == registers &&
           has_all(seventh[EBX], ebx_bits);
}

int xr_cpu_has_avx2(void) { return has_leaf7(LEAF7_EBX_AVX2, XCR0_YMM); }

int xr_cpu_has_avx512(void)
{
    return has_leaf7(LEAF7_EBX_AVX2 | LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ |
                         LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL,
                     XCR0_ZMM);
}
#else
int xr_cpu_has_avx2(void) { return 0; }
int xr_cpu_has_avx512(void) { return 0; }
#endif

#if defined(XR_AARCH64)
int xr_cpu_has_neon(void) { return 1; } /* part of the base architecture */
#else
int xr_cpu_has_neon(void) { return 0; }
#endif

int xr_cpu_has_scalar(void) { return 1; }
