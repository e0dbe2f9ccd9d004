/* JSON, RFC 8259, of a file that nobody vouches for: values as a tree in one array.
 *
 * A value's children follow it; `next` is the one after all of them, so that a child is
 * found by walking and nothing points anywhere. Names of an object are values too, each
 * before its own. Strings and numbers are slices of the text, as they stand there.
 * Refused are: depth beyond JSON_DEPTH, a name that occurs twice, numbers that Python
 * writes but JSON has not (NaN), text that is not UTF-8, anything behind the value.
 */
#ifndef XR_JSON_H
#define XR_JSON_H

#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH = 64 };

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_value {
    enum json_kind kind;
    const char *text; /* of strings without the quotes */
    size_t bytes;
    ptrdiff_t next; /* index of what follows this value and its children */
    ptrdiff_t count;
};

struct json {
    struct json_value *values; /* the first is the whole */
    ptrdiff_t count, room;
};

enum { JSON_RIGHT, JSON_WRONG, JSON_NO_MEMORY };

/* Returns one of these; only after JSON_RIGHT is there something to free. */
int xr_json_parse(struct json *json, const char *text, size_t bytes);
void xr_json_free(struct json *json);

/* Returns the value of a name, NULL where there is none. */
const struct json_value *xr_json_member(const struct json *json,
                                        const struct json_value *object,
                                        const char *name);

/* Returns the first child, and the one after a child; the caller counts them. */
const struct json_value *xr_json_first(const struct json_value *parent);
const struct json_value *xr_json_after(const struct json *json,
                                       const struct json_value *child);

int xr_json_is(const struct json_value *string, const char *expected);

/* A whole number, or 0: it is none, or larger than 2^62. */
int xr_json_integer(const struct json_value *value, int64_t *number);
/* A finite number, or 0, in the C locale's form whatever locale is in force. */
int xr_json_number(const struct json_value *value, double *number);

/* Writes what a string stands for, at most `bytes` of it and no 0; returns how many, or
 * -1 where a \u escape is half of a pair. */
ptrdiff_t xr_json_unescape(const struct json_value *string, char *out);

#endif
