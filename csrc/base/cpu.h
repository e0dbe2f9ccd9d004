/* What this processor and its operating system can run. */
#ifndef XR_CPU_H
#define XR_CPU_H

/* One question per line of isas.def: 1 if its kernels may run here. */
int xr_cpu_has_avx512(void);
int xr_cpu_has_avx2(void);
int xr_cpu_has_neon(void);
int xr_cpu_has_scalar(void);

#endif
