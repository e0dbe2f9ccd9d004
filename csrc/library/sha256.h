/* SHA-256, FIPS 180-4: the checksum of a model file. */
#ifndef XR_SHA256_H
#define XR_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BLOCK = 64, SHA256_HEX = 64 };

struct sha256 {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[SHA256_BLOCK];
};

void xr_sha256_begin(struct sha256 *sha);
void xr_sha256_add(struct sha256 *sha, const void *data, size_t bytes);
/* Writes the digest in lower-case hexadecimal, and a 0 after it. */
void xr_sha256_end(struct sha256 *sha, char hex[SHA256_HEX + 1]);

#endif
