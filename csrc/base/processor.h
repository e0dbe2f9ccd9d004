/* What a processor is asked for beside arithmetic, in the words of gcc and clang and of
 * MSVC (compiler.h): what it has, how it rounds, and that it may rest.
 */
#ifndef XR_PROCESSOR_H
#define XR_PROCESSOR_H

#include <stdint.h>

#include "base/compiler.h"

#if defined(__x86_64__) || defined(_M_X64)
#define XR_X86_64
#include <immintrin.h>
#elif defined(__aarch64__) || defined(_M_ARM64)
#define XR_AARCH64
#endif

#if defined(XR_AS_MSVC)
#include <intrin.h>
#elif defined(XR_X86_64)
#include <cpuid.h>
#endif

/* A pause of a thread that spins, about 40 ns. */
static inline void relax(void)
{
#if defined(XR_X86_64)
    _mm_pause();
#elif defined(XR_AARCH64) && defined(XR_AS_MSVC)
    __yield();
#elif defined(XR_AARCH64)
    __asm__ volatile("yield" : : : "memory");
#endif
}

#if defined(XR_X86_64)
/* What CPUID says of a leaf, as eax, ebx, ecx, edx: zeros if there is no such leaf. */
static inline void ask_processor(unsigned leaf, uint32_t out[4])
{
#if defined(XR_AS_MSVC)
    int most[4], found[4] = {0};
    __cpuid(most, 0);
    if ((unsigned)most[0] >= leaf) {
        __cpuidex(found, (int)leaf, 0);
    }
    for (int i = 0; i < 4; i++) {
        out[i] = (uint32_t)found[i];
    }
#else
    out[0] = out[1] = out[2] = out[3] = 0;
    __get_cpuid_count(leaf, 0, &out[0], &out[1], &out[2], &out[3]);
#endif
}

/* The registers that the system saves. Only who has found OSXSAVE may ask. */
static inline uint64_t saved_registers(void)
{
#if defined(XR_AS_MSVC)
    return _xgetbv(0);
#else
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
#endif
}
#endif

/* The control word of arithmetic, and what the numerics contract has there. */
#if defined(XR_X86_64)
#define FP_DEFAULT 0x1f80u /* all exceptions masked, nearest even, no FTZ, no DAZ */
typedef unsigned int fp_environment;
static inline fp_environment fp_get(void) { return _mm_getcsr(); }
static inline void fp_set(fp_environment value) { _mm_setcsr(value); }
#elif defined(XR_AARCH64) && defined(XR_AS_MSVC)
#define FP_DEFAULT 0u /* FPCR: nearest even, no FZ, no FZ16, no DN */
typedef uint64_t fp_environment;
enum { FPCR = 0x5a20 };
static inline fp_environment fp_get(void) { return (uint64_t)_ReadStatusReg(FPCR); }
static inline void fp_set(fp_environment value)
{
    _WriteStatusReg(FPCR, (__int64)value);
}
#elif defined(XR_AARCH64)
#define FP_DEFAULT 0u /* FPCR: nearest even, no FZ, no FZ16, no DN */
typedef uint64_t fp_environment;
static inline fp_environment fp_get(void)
{
    fp_environment value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
}
static inline void fp_set(fp_environment value)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(value) : "memory");
}
#else
#include <fenv.h>
#define FP_DEFAULT FE_TONEAREST
typedef int fp_environment;
static inline fp_environment fp_get(void) { return fegetround(); }
static inline void fp_set(fp_environment value) { fesetround(value); }
#endif

#endif
