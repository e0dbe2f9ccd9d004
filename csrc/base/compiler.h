/* What compilers spell each in a way of their own: as gcc and clang do, clang-cl among
 * them, or as MSVC does, for which XR_AS_MSVC asks elsewhere. No other file has a word
 * of one compiler's (tests/house/test_systems.py). `#pragma GCC` is left where it is:
 * the language has others ignore it.
 *
 *     XR_INLINE               a function that is put into each that calls it
 *     XR_NOINLINE             one that is not
 *     XR_MAY_BE_UNUSED        one that some files call
 *     XR_FORMAT(text, first)  one like printf, whose arguments have these numbers
 *     XR_AT_LOAD(function)    { ... }: is called when the library is loaded
 *     XR_EXPORTED             a function that the shared library shows
 *     XR_PERHAPS(type, name)  declares an object that may not have been linked;
 *                             XR_IS_LINKED(pointer) tells
 *     XR_FETCH(p), XR_FETCH_TO_WRITE(p)
 *                             bring memory nearer, which may come too late or be needless
 *     XR_READ_SHARED(p), XR_WRITE_SHARED(p, value)
 *                             an int that other threads read and write too, and that has
 *                             no word for it in C++
 *     XR_INFINITY, XR_NAN     doubles
 *     XR_SQRT, XR_SQRT_F32    one instruction, rounded as IEEE 754 has it
 */
#ifndef XR_COMPILER_H
#define XR_COMPILER_H

#if defined(_MSC_VER) && !defined(__clang__) && !defined(XR_AS_MSVC)
#define XR_AS_MSVC
#endif

#if defined(XR_AS_MSVC)
#include <math.h>
#include <xmmintrin.h>

#define XR_INLINE static __forceinline
#define XR_NOINLINE __declspec(noinline)
#define XR_MAY_BE_UNUSED
#define XR_FORMAT(text, first)
#pragma section(".CRT$XCU", read)
#define XR_AT_LOAD(function)                                                  \
    static void function(void);                                               \
    __declspec(allocate(".CRT$XCU")) void (*const function##_at_load)(void) = \
        function;                                                             \
    static void function(void)
#define XR_EXPORTED __declspec(dllexport)
extern const char xr_not_linked;
#define XR_PERHAPS(type, name) \
    extern type name;          \
    __pragma(comment(linker, "/alternatename:" #name "=xr_not_linked"))
#define XR_IS_LINKED(pointer) ((const void *)(pointer) != &xr_not_linked)
#define XR_FETCH(p) _mm_prefetch((const char *)(p), _MM_HINT_T1)
#define XR_FETCH_TO_WRITE(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define XR_READ_SHARED(p) (*(const volatile int *)(p))
#define XR_WRITE_SHARED(p, value) (*(volatile int *)(p) = (value))
#define XR_INFINITY ((double)INFINITY)
#define XR_NAN ((double)NAN)
#define XR_SQRT(x) sqrt(x)
#define XR_SQRT_F32(x) sqrtf(x)
#else
#define XR_INLINE static inline __attribute__((always_inline))
#define XR_NOINLINE __attribute__((noinline))
#define XR_MAY_BE_UNUSED __attribute__((unused))
#define XR_FORMAT(text, first) __attribute__((format(printf, text, first)))
#define XR_AT_LOAD(function) __attribute__((constructor)) static void function(void)
#if defined(_WIN32)
#define XR_EXPORTED __declspec(dllexport)
#else
#define XR_EXPORTED __attribute__((visibility("default")))
#endif
#define XR_PERHAPS(type, name) extern type name __attribute__((weak));
#define XR_IS_LINKED(pointer) ((pointer) != NULL)
#define XR_FETCH(p) __builtin_prefetch(p, 0, 2)
#define XR_FETCH_TO_WRITE(p) __builtin_prefetch(p, 1, 3)
#define XR_READ_SHARED(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define XR_WRITE_SHARED(p, value) __atomic_store_n(p, value, __ATOMIC_RELAXED)
#define XR_INFINITY __builtin_inf()
#define XR_NAN __builtin_nan("")
#define XR_SQRT(x) __builtin_sqrt(x)
#define XR_SQRT_F32(x) __builtin_sqrtf(x)
#define XR_FMA(a, b, c) __builtin_fma(a, b, c)
#define XR_FMA_F32(a, b, c) __builtin_fmaf(a, b, c)
#endif

#endif
