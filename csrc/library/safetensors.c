/* See safetensors.h. */
#include "library/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library/sha256.h"

enum { LENGTH_BYTES = 8, MOST_HEADER = 100000000, MOST_NAME = 200 };

static const char METADATA[] = "__metadata__", ENTRY[] = "exactrnn";

/* What NumPy has of the format's element types. */
struct element_type {
    const char *name;
    char order[4];
    size_t bytes;
};

static const struct element_type TYPES[] = {
    {"F64", "<f8", 8}, {"F32", "<f4", 4}, {"F16", "<f2", 2}, {"I64", "<i8", 8},
    {"I32", "<i4", 4}, {"I16", "<i2", 2}, {"I8", "|i1", 1},  {"U64", "<u8", 8},
    {"U32", "<u4", 4}, {"U16", "<u2", 2}, {"U8", "|u1", 1},  {"BOOL", "|b1", 1},
};

static enum xr_status refuse(const char *reason)
{
    return xr_refuse(XR_BAD_FILE, "not a model file: %s", reason);
}

static const struct element_type *find_type(const struct json_value *name)
{
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++) {
        if (xr_json_is(name, TYPES[i].name)) {
            return &TYPES[i];
        }
    }
    return NULL;
}

/* Reads shape and element type; returns the bytes of the array, -1 for a wrong one. */
static int64_t read_shape(const struct json *json, const struct json_value *shape,
                          struct file_array *array)
{
    int64_t bytes = (int64_t)array->element_bytes;
    if (shape == NULL || shape->kind != JSON_ARRAY || shape->count > FILE_AXES) {
        return -1;
    }
    const struct json_value *at = xr_json_first(shape);
    array->axes = (int)shape->count;
    for (int i = 0; i < array->axes; i++) {
        int64_t *size = &array->shape[i];
        if (!xr_json_integer(at, size) || *size < 0 ||
            (*size > 0 && bytes > INT64_MAX / *size)) {
            return -1;
        }
        bytes *= *size;
        at = xr_json_after(json, at);
    }
    return bytes;
}

/* Whether a name stands for itself, in Python's form of JSON too. */
static int is_plain(const struct json_value *name)
{
    for (size_t i = 0; i < name->bytes; i++) {
        const char c = name->text[i];
        if (c < 0x20 || c > 0x7e || c == '\\') {
            return 0;
        }
    }
    return name->bytes <= MOST_NAME;
}

static enum xr_status read_array(const struct json *json, const struct json_value *name,
                                 struct file_array *array, const unsigned char *data,
                                 int64_t data_bytes)
{
    const struct json_value *described = name + 1;
    const struct element_type *type =
        find_type(xr_json_member(json, described, "dtype"));
    const struct json_value *offsets = xr_json_member(json, described, "data_offsets");
    int64_t begin, end;
    if (!is_plain(name)) {
        return refuse("an array has a strange name");
    }
    if (type == NULL || described->count != 3) {
        return refuse("an array has an unknown dtype or entry");
    }
    *array = (struct file_array){.name = name->text,
                                 .name_bytes = name->bytes,
                                 .is_float = type->order[1] == 'f',
                                 .element_bytes = type->bytes};
    memcpy(array->order, type->order, sizeof array->order);
    const int64_t bytes =
        read_shape(json, xr_json_member(json, described, "shape"), array);
    if (bytes < 0) {
        return refuse("an array has a wrong shape");
    }
    if (offsets == NULL || offsets->kind != JSON_ARRAY || offsets->count != 2 ||
        !xr_json_integer(xr_json_first(offsets), &begin) ||
        !xr_json_integer(xr_json_first(offsets) + 1, &end) || begin < 0 ||
        end > data_bytes || begin > end || end - begin != bytes) {
        return refuse("an array lies outside of the file or has another size");
    }
    array->data = data + begin;
    array->bytes = (size_t)bytes;
    return XR_OK;
}

static int by_place(const void *one, const void *other)
{
    const struct file_array *first = one, *second = other;
    if (first->data != second->data) {
        return first->data < second->data ? -1 : 1;
    }
    return (first->bytes > second->bytes) - (first->bytes < second->bytes);
}

static int compare_names(const struct file_array *array, const char *name, size_t bytes)
{
    const size_t both = array->name_bytes < bytes ? array->name_bytes : bytes;
    const int order = memcmp(array->name, name, both);
    return order != 0 ? order
                      : (array->name_bytes > bytes) - (array->name_bytes < bytes);
}

static int by_name(const void *one, const void *other)
{
    const struct file_array *second = other;
    return compare_names(one, second->name, second->name_bytes);
}

/* Data without gaps and without anything twice, up to the file's end. */
static enum xr_status check_places(const struct file *file, const unsigned char *data,
                                   const unsigned char *end)
{
    qsort(file->arrays, (size_t)file->count, sizeof *file->arrays, by_place);
    for (ptrdiff_t i = 0; i < file->count; i++) {
        if (file->arrays[i].data != data) {
            return refuse("its arrays overlap or leave a gap");
        }
        data += file->arrays[i].bytes;
    }
    return data == end ? XR_OK : refuse("something follows its arrays");
}

static enum xr_status read_entry(struct file *file, const struct json *json,
                                 const struct json_value *metadata)
{
    const struct json_value *at = xr_json_first(metadata);
    if (metadata->kind != JSON_OBJECT) {
        return refuse("its metadata is no object");
    }
    for (ptrdiff_t i = 0; i < metadata->count; i++) {
        if (at[1].kind != JSON_STRING) {
            return refuse("its metadata holds something else than text");
        }
        at = xr_json_after(json, at + 1);
    }
    const struct json_value *text = xr_json_member(json, metadata, ENTRY);
    if (text == NULL) {
        return XR_OK;
    }
    file->entry = malloc(text->bytes + 1);
    if (file->entry == NULL) {
        return xr_refuse(XR_NO_MEMORY, "no memory for %zu bytes", text->bytes);
    }
    const ptrdiff_t bytes = xr_json_unescape(text, file->entry);
    file->entry_bytes = bytes < 0 ? 0 : (size_t)bytes;
    return bytes < 0 ? refuse("its metadata is not Unicode") : XR_OK;
}

static enum xr_status read_header(struct file *file, const struct json *json,
                                  const unsigned char *data, size_t data_bytes)
{
    const struct json_value *header = json->values;
    if (header->kind != JSON_OBJECT) {
        return refuse("its header is no object");
    }
    file->arrays = malloc((size_t)(header->count + 1) * sizeof *file->arrays);
    if (file->arrays == NULL) {
        return xr_refuse(XR_NO_MEMORY, "no memory for a list of arrays");
    }
    const struct json_value *name = xr_json_first(header);
    enum xr_status status = XR_OK;
    for (ptrdiff_t i = 0; i < header->count && status == XR_OK; i++) {
        if (xr_json_is(name, METADATA)) {
            status = read_entry(file, json, name + 1);
        } else {
            status = read_array(json, name, &file->arrays[file->count++], data,
                                (int64_t)data_bytes);
        }
        name = xr_json_after(json, name + 1);
    }
    if (status == XR_OK) {
        status = check_places(file, data, data + data_bytes);
    }
    if (status == XR_OK) {
        qsort(file->arrays, (size_t)file->count, sizeof *file->arrays, by_name);
    }
    return status;
}

static enum xr_status refuse_foreign(const unsigned char *content, size_t bytes)
{
    if (bytes >= 4 && memcmp(content, "PK\3\4", 4) == 0) {
        return refuse("it is a zip archive, as torch.save and Keras write");
    }
    if (bytes >= 4 && memcmp(content, "\x89HDF", 4) == 0) {
        return refuse("it is an HDF5 file");
    }
    return refuse("its header is not that of a safetensors file");
}

enum xr_status xr_file_open(struct file *file, const void *content, size_t bytes)
{
    const unsigned char *begin = content;
    struct json json;
    uint64_t length = 0;
    *file = (struct file){0};
    for (size_t i = 0; i < LENGTH_BYTES && bytes >= LENGTH_BYTES; i++) {
        length |= (uint64_t)begin[i] << (8 * i);
    }
    if (bytes < LENGTH_BYTES || length > MOST_HEADER || length > bytes - LENGTH_BYTES) {
        return refuse_foreign(begin, bytes);
    }
    const char *text = (const char *)begin + LENGTH_BYTES;
    const int parsed = xr_json_parse(&json, text, (size_t)length);
    if (parsed != JSON_RIGHT) {
        return parsed == JSON_WRONG ? refuse_foreign(begin, bytes)
                                    : xr_refuse(XR_NO_MEMORY, "no memory for a header");
    }
    const size_t before = LENGTH_BYTES + (size_t)length;
    const enum xr_status status =
        read_header(file, &json, begin + before, bytes - before);
    xr_json_free(&json);
    if (status != XR_OK) {
        xr_file_close(file);
    }
    return status;
}

void xr_file_close(struct file *file)
{
    free(file->arrays);
    free(file->entry);
    *file = (struct file){0};
}

const struct file_array *xr_file_array(const struct file *file, const char *name)
{
    ptrdiff_t begin = 0, end = file->count;
    while (begin < end) {
        const ptrdiff_t middle = begin + (end - begin) / 2;
        const int order = compare_names(&file->arrays[middle], name, strlen(name));
        if (order == 0) {
            return &file->arrays[middle];
        }
        begin = order < 0 ? middle + 1 : begin;
        end = order < 0 ? end : middle;
    }
    return NULL;
}

/* A line that describes an array: ["name", "<f4", [2, 3]], as json.dumps writes it. */
static void add_description(const struct file_array *array, struct sha256 *sha)
{
    char text[32];
    xr_sha256_add(sha, "\n[\"", 3);
    xr_sha256_add(sha, array->name, array->name_bytes);
    xr_sha256_add(sha, "\", \"", 4);
    xr_sha256_add(sha, array->order, 3);
    xr_sha256_add(sha, "\", [", 4);
    for (int i = 0; i < array->axes; i++) {
        const int bytes = snprintf(text, sizeof text,
                                   i == 0 ? "%" PRId64 : ", %" PRId64, array->shape[i]);
        xr_sha256_add(sha, text, (size_t)bytes);
    }
    xr_sha256_add(sha, "]]\n", 3);
}

void xr_file_digest(const struct file *file, struct sha256 *sha)
{
    for (ptrdiff_t i = 0; i < file->count; i++) {
        add_description(&file->arrays[i], sha);
        xr_sha256_add(sha, file->arrays[i].data, file->arrays[i].bytes);
    }
}
