/* See environment.h. */
#include "base/environment.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int xr_number_of(const char *variable, int none)
{
    const char *text = getenv(variable);
    if (text == NULL) {
        return none;
    }
    char *end;
    const long number = strtol(text, &end, 10);
    const int is_one = end != text && (*end == '\0' || *end == ',' || *end == ' ');
    return is_one && number > 0 && number <= INT_MAX ? (int)number : none;
}

size_t xr_stack_bytes(void)
{
    const char *text = getenv("OMP_STACKSIZE");
    if (text == NULL) {
        text = getenv("GOMP_STACKSIZE");
    }
    if (text == NULL) {
        return 0;
    }
    char *end;
    const unsigned long long number = strtoull(text, &end, 10);
    const char *units = "bkmg";
    const char *unit = *end ? strchr(units, *end | 0x20) : NULL;
    const int shift = unit == NULL ? 10 : 10 * (int)(unit - units);
    return number > SIZE_MAX >> shift ? SIZE_MAX : (size_t)number << shift;
}

/* Whether a text is that word, in capitals or not. */
static int is_word(const char *text, const char *word)
{
    while (*word != '\0' && (*text | 0x20) == *word) {
        text++, word++;
    }
    return *word == '\0' && *text == '\0';
}

int xr_waits_asleep(void)
{
    const char *policy = getenv("OMP_WAIT_POLICY");
    return policy != NULL && is_word(policy, "passive");
}
