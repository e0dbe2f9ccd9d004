/* Included before all else in wheels' builds (EXACTRNN_OLD_GLIBC in CMakeLists.txt).
 *
 * glibc 2.34 gave these functions a second version when it took them in from its
 * libpthread. What is built there asks for that version, and would run on no older
 * system, though the first one does the same and is still there. Nothing else that is
 * used is newer than glibc 2.17.
 */
#ifndef XR_OLD_GLIBC_H
#define XR_OLD_GLIBC_H

#if defined(__x86_64__)
#define XR_FIRST "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define XR_FIRST "GLIBC_2.17"
#else
#error "the first version of these functions is not known for this processor"
#endif

__asm__(".symver pthread_attr_setstacksize, pthread_attr_setstacksize@" XR_FIRST);
__asm__(".symver pthread_create, pthread_create@" XR_FIRST);
__asm__(".symver pthread_detach, pthread_detach@" XR_FIRST);
__asm__(".symver pthread_join, pthread_join@" XR_FIRST);
__asm__(".symver pthread_sigmask, pthread_sigmask@" XR_FIRST);

#endif
