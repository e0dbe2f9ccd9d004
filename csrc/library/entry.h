/* The description in a model file, and the checksum of all else. */
#ifndef XR_ENTRY_H
#define XR_ENTRY_H

#include "library/json.h"
#include "library/safetensors.h"

/* Parses the text of the entry and compares the checksum, if there is one, as files
 * have had since they were given any. Only after XR_OK is there something to free. */
enum xr_status xr_entry_read(const struct file *file, struct json *json);

#endif
