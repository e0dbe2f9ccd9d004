/* See entry.h. What is summed is the text as it stands in the file but for the checksum
 * itself, `, "sha256": "..."`, and then the arrays: Python, whose text has one form,
 * sums the same bytes (src/exactrnn/io.py).
 */
#include "library/entry.h"

#include <string.h>

#include "library/sha256.h"

static const char CHECKSUM[] = "sha256", SEPARATOR[] = ", ", BETWEEN[] = "\": \"";

/* What the descriptions of files without a checksum hold. */
static const char *const OLD_ENTRIES[] = {"class", "arguments", "numerics", "generator",
                                          "alphabet"};

static enum xr_status refuse(const char *reason)
{
    return xr_refuse(XR_BAD_FILE, "not a model file: %s", reason);
}

static int is_old(const struct json_value *name)
{
    for (size_t i = 0; i < sizeof OLD_ENTRIES / sizeof OLD_ENTRIES[0]; i++) {
        if (xr_json_is(name, OLD_ENTRIES[i])) {
            return 1;
        }
    }
    return 0;
}

static enum xr_status check_old(const struct json *json)
{
    const struct json_value *name = xr_json_first(json->values);
    for (ptrdiff_t i = 0; i < json->values->count; i++) {
        if (!is_old(name)) {
            return refuse("it has no checksum, but entries that came after it");
        }
        name = xr_json_after(json, name + 1);
    }
    return XR_OK;
}

static enum xr_status check_sum(const struct file *file,
                                const struct json_value *checksum)
{
    const char *begin = checksum[-1].text - 1, *text = file->entry;
    const char *end = checksum->text + checksum->bytes + 1;
    const char *between = checksum[-1].text + strlen(CHECKSUM);
    const size_t gap = strlen(SEPARATOR);
    struct sha256 sha;
    char hex[SHA256_HEX + 1];
    if (checksum->kind != JSON_STRING || (size_t)(begin - text) < gap ||
        memcmp(begin - gap, SEPARATOR, gap) != 0 ||
        checksum->text != between + strlen(BETWEEN) ||
        memcmp(between, BETWEEN, strlen(BETWEEN)) != 0) {
        return refuse("its checksum is not where one is");
    }
    begin -= gap;
    xr_sha256_begin(&sha);
    xr_sha256_add(&sha, text, (size_t)(begin - text));
    xr_sha256_add(&sha, end, (size_t)(text + file->entry_bytes - end));
    xr_file_digest(file, &sha);
    xr_sha256_end(&sha, hex);
    return xr_json_is(checksum, hex) ? XR_OK
                                     : refuse("its checksum differs: it is damaged");
}

static enum xr_status check_entry(const struct file *file, const struct json *json)
{
    if (json->values->kind != JSON_OBJECT) {
        return refuse("its description is no object");
    }
    const struct json_value *checksum = xr_json_member(json, json->values, CHECKSUM);
    return checksum == NULL ? check_old(json) : check_sum(file, checksum);
}

enum xr_status xr_entry_read(const struct file *file, struct json *json)
{
    if (file->entry == NULL) {
        return refuse("it is a safetensors file that exactrnn.save has not written");
    }
    const int parsed = xr_json_parse(json, file->entry, file->entry_bytes);
    if (parsed != JSON_RIGHT) {
        return parsed == JSON_WRONG ? refuse("its description is not JSON")
                                    : xr_refuse(XR_NO_MEMORY, "no memory for a header");
    }
    const enum xr_status status = check_entry(file, json);
    if (status != XR_OK) {
        xr_json_free(json);
    }
    return status;
}
