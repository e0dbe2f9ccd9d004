/* What an optimiser does to one array: scaling, gradient descent, Adam, RMSprop.
 * library/dense.c checks, kernels/math/update.c has the code,
 * src/exactrnn/reference/dense.py is the twin.
 *
 * Here and not in Python so that an update cannot be stopped half-way: nothing
 * allocates, nothing fails, no signal is looked at. Numbers are rounded to the dtype
 * once, by the function itself.
 */
#ifndef XR_UPDATE_H
#define XR_UPDATE_H

#include "exactrnn.h"

#ifdef __cplusplus
extern "C" {
#endif

struct xr_update {
    size_t struct_size;
    ptrdiff_t n;
    void *p;        /* [n] parameters, or what is scaled */
    const void *g;  /* [n] their gradient; may be p, else apart from all others */
    void *m;        /* [n] Adam's first moment, or the velocity; NULL: no momentum */
    void *v;        /* [n] Adam's and RMSprop's second moment */
    double rate;    /* the factor; SGD, RMSprop: lr; Adam: lr / (1 - beta1^t) */
    double beta[2]; /* Adam's two; SGD: momentum; RMSprop: momentum, decay of v */
    double rest[2]; /* Adam, RMSprop: 1 - beta */
    double correction, eps; /* Adam: 1 - beta2^t, and what is added to the root */
    double keep;            /* Adam: what p is multiplied by first, 1 without decay */
};

/* p = rate * g; gradient descent; Adam; RMSprop. By an engine of xr_find_engine. */
XR_API enum xr_status xr_update_scale(const struct xr_engine *engine,
                                      const struct xr_update *update);
XR_API enum xr_status xr_update_sgd(const struct xr_engine *engine,
                                    const struct xr_update *update);
XR_API enum xr_status xr_update_adam(const struct xr_engine *engine,
                                     const struct xr_update *update);
XR_API enum xr_status xr_update_rmsprop(const struct xr_engine *engine,
                                        const struct xr_update *update);

#ifdef __cplusplus
}
#endif

#endif
