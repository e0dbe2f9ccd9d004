/* The terms of each partial sum of a long sum (contract N3). */
#ifndef XR_CHUNK_H
#define XR_CHUNK_H

enum { CHUNK = 256 };

#endif
