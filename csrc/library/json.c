/* See json.h. */
#include "library/json.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct json *json;
    const char *at, *end;
    int no_memory;
};

static int parse_value(struct reader *reader, int depth);

static void skip_blanks(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t' ||
                                        *reader->at == '\n' || *reader->at == '\r')) {
        reader->at++;
    }
}

/* Returns whether the next character is this one, and passes it. */
static int passes(struct reader *reader, char c)
{
    const int is_next = reader->at < reader->end && *reader->at == c;
    reader->at += is_next;
    return is_next;
}

static int passes_word(struct reader *reader, const char *word)
{
    const size_t bytes = strlen(word);
    const int is_next = (size_t)(reader->end - reader->at) >= bytes &&
                        memcmp(reader->at, word, bytes) == 0;
    reader->at += is_next ? bytes : 0;
    return is_next;
}

/* Returns the index of a new value, -1 without memory for it. */
static ptrdiff_t add_value(struct reader *reader, enum json_kind kind)
{
    struct json *json = reader->json;
    if (json->count == json->room) {
        const ptrdiff_t room = json->room == 0 ? 64 : 2 * json->room;
        void *values = realloc(json->values, (size_t)room * sizeof *json->values);
        if (values == NULL) {
            reader->no_memory = 1;
            return -1;
        }
        json->values = values;
        json->room = room;
    }
    json->values[json->count] =
        (struct json_value){.kind = kind, .text = reader->at, .next = json->count + 1};
    return json->count++;
}

/* Strings */

static int is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Passes a character of several bytes: no shorter form, no surrogate, nothing beyond
 * U+10FFFF. */
static int pass_utf8(struct reader *reader)
{
    const unsigned char *at = (const unsigned char *)reader->at;
    const ptrdiff_t left = reader->end - reader->at;
    const int length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || left < length) {
        return 0;
    }
    for (int i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)) {
        return 0;
    }
    reader->at += length;
    return 1;
}

static int pass_escape(struct reader *reader)
{
    if (reader->at == reader->end) {
        return 0;
    }
    const char c = *reader->at++;
    if (c != 'u') {
        return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
    }
    for (int i = 0; i < 4; i++, reader->at++) {
        if (reader->at == reader->end || !is_hex(*reader->at)) {
            return 0;
        }
    }
    return 1;
}

/* A string, whose first quote is next; returns its index, -1 for none. */
static ptrdiff_t parse_string(struct reader *reader)
{
    if (!passes(reader, '"')) {
        return -1;
    }
    const ptrdiff_t index = add_value(reader, JSON_STRING);
    const char *begin = reader->at;
    while (index >= 0 && reader->at < reader->end && *reader->at != '"') {
        const unsigned char c = (unsigned char)*reader->at;
        const int is_right = c >= 0x80   ? pass_utf8(reader)
                             : c == '\\' ? (reader->at++, pass_escape(reader))
                                         : (reader->at++, c >= 0x20);
        if (!is_right) {
            return -1;
        }
    }
    if (index < 0 || reader->at == reader->end) {
        return -1;
    }
    reader->json->values[index].bytes = (size_t)(reader->at - begin);
    reader->at++;
    return index;
}

/* Numbers */

static int pass_digits(struct reader *reader)
{
    const char *begin = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
        reader->at++;
    }
    return reader->at > begin;
}

static int parse_number(struct reader *reader)
{
    const ptrdiff_t index = add_value(reader, JSON_NUMBER);
    const char *begin = reader->at;
    if (index < 0) {
        return 0;
    }
    passes(reader, '-');
    if (!passes(reader, '0') && !pass_digits(reader)) {
        return 0;
    }
    if (passes(reader, '.') && !pass_digits(reader)) {
        return 0;
    }
    if (passes(reader, 'e') || passes(reader, 'E')) {
        if (!passes(reader, '-')) {
            passes(reader, '+');
        }
        if (!pass_digits(reader)) {
            return 0;
        }
    }
    reader->json->values[index].bytes = (size_t)(reader->at - begin);
    return 1;
}

/* Arrays and objects */

static int parse_array(struct reader *reader, int depth)
{
    const ptrdiff_t index = add_value(reader, JSON_ARRAY);
    ptrdiff_t count = 0;
    if (index < 0 || !passes(reader, '[')) {
        return 0;
    }
    skip_blanks(reader);
    if (!passes(reader, ']')) {
        do {
            if (!parse_value(reader, depth)) {
                return 0;
            }
            count++;
        } while (passes(reader, ','));
        if (!passes(reader, ']')) {
            return 0;
        }
    }
    reader->json->values[index].count = count;
    reader->json->values[index].next = reader->json->count;
    return 1;
}

static int same_text(const struct json_value *one, const struct json_value *other)
{
    return one->bytes == other->bytes &&
           memcmp(one->text, other->text, one->bytes) == 0;
}

static int by_text(const void *one, const void *other)
{
    const struct json_value *const *first = one, *const *second = other;
    const size_t bytes =
        (*first)->bytes < (*second)->bytes ? (*first)->bytes : (*second)->bytes;
    const int order = memcmp((*first)->text, (*second)->text, bytes);
    if (order != 0) {
        return order;
    }
    return ((*first)->bytes > (*second)->bytes) - ((*first)->bytes < (*second)->bytes);
}

/* Sorted, so that a hostile file of very many names does not take its square. */
static int has_distinct_names(struct reader *reader, ptrdiff_t index)
{
    const struct json_value *object = &reader->json->values[index];
    const size_t count = (size_t)object->count;
    const struct json_value **names = malloc((count + 1) * sizeof *names);
    if (names == NULL) {
        reader->no_memory = 1;
        return 0;
    }
    const struct json_value *name = xr_json_first(object);
    for (size_t i = 0; i < count; i++) {
        names[i] = name;
        name = xr_json_after(reader->json, name + 1);
    }
    qsort(names, count, sizeof *names, by_text);
    int are_distinct = 1;
    for (size_t i = 1; i < count; i++) {
        are_distinct &= !same_text(names[i - 1], names[i]);
    }
    free(names);
    return are_distinct;
}

static int parse_member(struct reader *reader, int depth)
{
    skip_blanks(reader);
    if (parse_string(reader) < 0) {
        return 0;
    }
    skip_blanks(reader);
    return passes(reader, ':') && parse_value(reader, depth);
}

static int parse_object(struct reader *reader, int depth)
{
    const ptrdiff_t index = add_value(reader, JSON_OBJECT);
    ptrdiff_t count = 0;
    if (index < 0 || !passes(reader, '{')) {
        return 0;
    }
    skip_blanks(reader);
    if (!passes(reader, '}')) {
        do {
            if (!parse_member(reader, depth)) {
                return 0;
            }
            count++;
        } while (passes(reader, ','));
        if (!passes(reader, '}')) {
            return 0;
        }
    }
    reader->json->values[index].count = count;
    reader->json->values[index].next = reader->json->count;
    return has_distinct_names(reader, index);
}

static int parse_word(struct reader *reader, const char *word, enum json_kind kind)
{
    return add_value(reader, kind) >= 0 && passes_word(reader, word);
}

/* A value and the blanks on both sides. */
static int parse_value(struct reader *reader, int depth)
{
    int is_right = 0;
    skip_blanks(reader);
    if (reader->at == reader->end || depth == JSON_DEPTH) {
        return 0;
    }
    switch (*reader->at) {
    case '{': is_right = parse_object(reader, depth + 1); break;
    case '[': is_right = parse_array(reader, depth + 1); break;
    case '"': is_right = parse_string(reader) >= 0; break;
    case 'n': is_right = parse_word(reader, "null", JSON_NULL); break;
    case 'f': is_right = parse_word(reader, "false", JSON_FALSE); break;
    case 't': is_right = parse_word(reader, "true", JSON_TRUE); break;
    default: is_right = parse_number(reader);
    }
    skip_blanks(reader);
    return is_right;
}

int xr_json_parse(struct json *json, const char *text, size_t bytes)
{
    struct reader reader = {.json = json, .at = text, .end = text + bytes};
    *json = (struct json){0};
    if (parse_value(&reader, 0) && reader.at == reader.end) {
        return JSON_RIGHT;
    }
    xr_json_free(json);
    return reader.no_memory ? JSON_NO_MEMORY : JSON_WRONG;
}

void xr_json_free(struct json *json)
{
    free(json->values);
    *json = (struct json){0};
}

/* What is in a tree */

const struct json_value *xr_json_first(const struct json_value *parent)
{
    return parent + 1;
}

const struct json_value *xr_json_after(const struct json *json,
                                       const struct json_value *child)
{
    return json->values + child->next;
}

const struct json_value *xr_json_member(const struct json *json,
                                        const struct json_value *object,
                                        const char *name)
{
    const struct json_value *at = xr_json_first(object);
    for (ptrdiff_t i = 0; object->kind == JSON_OBJECT && i < object->count; i++) {
        if (xr_json_is(at, name)) {
            return at + 1;
        }
        at = xr_json_after(json, at + 1);
    }
    return NULL;
}

int xr_json_is(const struct json_value *string, const char *expected)
{
    return string != NULL && string->kind == JSON_STRING &&
           string->bytes == strlen(expected) &&
           memcmp(string->text, expected, string->bytes) == 0;
}

int xr_json_integer(const struct json_value *value, int64_t *number)
{
    const int64_t most = INT64_C(1) << 62;
    if (value == NULL || value->kind != JSON_NUMBER) {
        return 0;
    }
    const int is_negative = value->text[0] == '-';
    int64_t found = 0;
    for (size_t i = (size_t)is_negative; i < value->bytes; i++) {
        const char c = value->text[i];
        if (c < '0' || c > '9' || found > (most - (c - '0')) / 10) {
            return 0;
        }
        found = 10 * found + (c - '0');
    }
    *number = is_negative ? -found : found;
    return 1;
}

/* The point of the locale in force, as strtod wants it, may have several bytes. */
int xr_json_number(const struct json_value *value, double *number)
{
    enum { MOST_DIGITS = 400, MOST_POINT = 16 }; /* Python writes at most 24 */
    char text[MOST_DIGITS + MOST_POINT + 1];
    const char *point = localeconv()->decimal_point;
    if (value == NULL || value->kind != JSON_NUMBER || value->bytes > MOST_DIGITS ||
        strlen(point) > MOST_POINT) {
        return 0;
    }
    char *end = text;
    for (size_t i = 0; i < value->bytes; i++) {
        const int is_point = value->text[i] == '.';
        const size_t bytes = is_point ? strlen(point) : 1;
        memcpy(end, is_point ? point : value->text + i, bytes);
        end += bytes;
    }
    *end = '\0';
    char *read;
    *number = strtod(text, &read);
    return read == end && *number - *number == 0;
}

/* Escapes */

static unsigned hex_value(const char *at)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        const char c = at[i];
        const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        value = 16 * value + (unsigned)digit;
    }
    return value;
}

static char *write_utf8(char *out, unsigned c)
{
    const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char FIRST[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(FIRST[more] | c >> (6 * more));
    for (int i = more - 1; i >= 0; i--) {
        *out++ = (char)(0x80 | (c >> (6 * i) & 0x3f));
    }
    return out;
}

/* Reads what follows a `\u`; returns how many bytes of the text it was, 0 for half of a
 * pair. */
static size_t read_unicode(const char *at, size_t left, unsigned *c)
{
    *c = hex_value(at);
    if (*c < 0xd800 || *c > 0xdfff) {
        return 4;
    }
    if (*c > 0xdbff || left < 10 || at[4] != '\\' || at[5] != 'u') {
        return 0;
    }
    const unsigned low = hex_value(at + 6);
    *c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
    return low >= 0xdc00 && low <= 0xdfff ? 10 : 0;
}

ptrdiff_t xr_json_unescape(const struct json_value *string, char *out)
{
    static const char NAMES[] = "bfnrt", VALUES[] = "\b\f\n\r\t";
    char *begin = out;
    for (size_t i = 0; i < string->bytes; i++) {
        unsigned c = 0;
        if (string->text[i] != '\\') {
            *out++ = string->text[i];
            continue;
        }
        const char name = string->text[++i];
        const char *known = strchr(NAMES, name);
        if (name != 'u') {
            *out++ = known == NULL ? name : VALUES[known - NAMES];
            continue;
        }
        const size_t used =
            read_unicode(string->text + i + 1, string->bytes - i - 1, &c);
        if (used == 0) {
            return -1;
        }
        i += used;
        out = write_utf8(out, c);
    }
    return out - begin;
}
