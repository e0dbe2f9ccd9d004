/* A safetensors file: named arrays and the text of our entry in its metadata.
 *
 *     8 bytes      length of the header, little-endian
 *     header       JSON: {"__metadata__": {name: text}, name: {"dtype": ...,
 *                  "shape": [...], "data_offsets": [begin, end]}, ...}
 *     data         the arrays, without a gap, in any order of names
 */
#ifndef XR_SAFETENSORS_H
#define XR_SAFETENSORS_H

#include "library/checks.h"
#include "library/json.h"

enum { FILE_AXES = 8 };

struct file_array {
    const char *name; /* ASCII without escapes, no 0 at its end */
    size_t name_bytes;
    int is_float;
    char order[4]; /* as Python's dtype.str names it */
    size_t element_bytes;
    int axes;
    int64_t shape[FILE_AXES];
    const unsigned char *data; /* not aligned */
    size_t bytes;
};

struct file {
    struct file_array *arrays; /* sorted by name */
    ptrdiff_t count;
    char *entry; /* the text, NULL where there is none */
    size_t entry_bytes;
};

/* `content` must stay where it is: arrays point into it. Unless the status is XR_OK
 * there is nothing to close. */
enum xr_status xr_file_open(struct file *file, const void *content, size_t bytes);
void xr_file_close(struct file *file);

/* Returns the array of this name, NULL where there is none. */
const struct file_array *xr_file_array(const struct file *file, const char *name);

/* Adds all arrays to a digest, as src/exactrnn/io.py does. */
struct sha256;
void xr_file_digest(const struct file *file, struct sha256 *sha);

#endif
