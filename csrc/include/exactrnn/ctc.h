/* Connectionist temporal classification. library/dense.c checks, kernels/math/ctc.c has
 * the code, and src/exactrnn/reference/ctc.py is the twin.
 *
 * As in dense.h nothing allocates: `scratch` is as many bytes as xr_ctc_scratch says,
 * aligned to XR_ALIGNMENT, and arrays are contiguous in storage order. `stop` may be
 * NULL; of a call that was ended every output is undefined.
 * Letters: T time, B rows, K symbols with the blank, L labels of a row at most.
 */
#ifndef XR_CTC_H
#define XR_CTC_H

#include "exactrnn.h"

#ifdef __cplusplus
extern "C" {
#endif

struct xr_ctc {
    size_t struct_size;
    ptrdiff_t T, B, K, L;         /* K >= 1 */
    ptrdiff_t blank;              /* 0..K-1 */
    const void *logits;           /* [T, B, K]; read as far as a row is long */
    const int64_t *labels;        /* [B, L], 0..K-1; read as far as there are labels */
    const int64_t *lengths;       /* [B], 0..T */
    const int64_t *label_lengths; /* [B], 0..L */
    void *loss;                   /* [B]; +inf for labels that no path spells */
    void *dlogits;                /* [T, B, K] or NULL, apart from logits; +0.0 beyond a
                                   * row's end, and of rows whose loss is +inf */
    int threads;
    void *scratch;
    struct xr_stop *stop;
};

/* The bytes of scratch, and the call, by an engine of xr_find_engine. */
XR_API enum xr_status xr_ctc_scratch(const struct xr_engine *engine,
                                     const struct xr_ctc *problem, size_t *bytes);
XR_API enum xr_status xr_ctc_loss(const struct xr_engine *engine,
                                  const struct xr_ctc *problem);

#ifdef __cplusplus
}
#endif

#endif
