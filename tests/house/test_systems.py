"""The C files know one compiler and one system in few places, so that others may come.

What compilers spell in a way of their own is in base/compiler.h and base/processor.h,
what systems have in base/system_*.c, threads_posix.c and two functions beside.
"""

import re

import pytest
from sources import files_under, relative, strip_comments

COMPILER_WORDS = re.compile(
    r"\b(?:__attribute__|__builtin_\w+|__atomic_\w+|__sync_\w+|__declspec|__asm__|"
    r"asm|typeof|__typeof__|__extension__|__forceinline|__int128)\b|\(\{"
)
KNOW_COMPILERS = {"compiler.h", "processor.h", "old_glibc.h"}

SYSTEM_WORDS = re.compile(
    r"<(?:pthread|unistd|sched|signal|strings|dlfcn|fcntl|semaphore|windows|process|io|"
    r"malloc|sys/\w+|linux/\w+)\.h>|"
    r"\b(?:pthread_\w+|posix_memalign|aligned_alloc|_aligned_\w+|clock_gettime|"
    r"strn?dup|strn?casecmp|strtok_r|getline|asprintf|usleep|nanosleep|ssize_t|off_t|"
    r"mmap|madvise|sysconf)\b"
)
KNOW_SYSTEMS = {
    "system_linux.c",
    "system_posix.c",
    "system_windows.c",
    "threads_posix.c",
    "old_glibc.h",
    "clock.h",  # inline where it is one call
    "kept.c",  # what is aligned
}

C_FILES = files_under("csrc", suffixes={".c", ".h"})


def words_in(text, words):
    return words.findall(strip_comments(text))


@pytest.mark.parametrize("path", C_FILES, ids=relative)
def test_compilers_and_systems_are_known_in_few_files(path):
    text = path.read_text(encoding="utf-8")
    if path.name not in KNOW_COMPILERS:
        assert words_in(text, COMPILER_WORDS) == []
    if path.name not in KNOW_SYSTEMS:
        assert words_in(text, SYSTEM_WORDS) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("static __attribute__((noinline)) int f(void);", COMPILER_WORDS),
        ("int n = __builtin_popcount(m);", COMPILER_WORDS),
        ("int n = ({ int m = 1; m; });", COMPILER_WORDS),
        ("#include <pthread.h>", SYSTEM_WORDS),
        ("#include <sys/mman.h>", SYSTEM_WORDS),
        ("void *p = aligned_alloc(64, 64);", SYSTEM_WORDS),
        ("char *s = strdup(t);", SYSTEM_WORDS),
    ],
)
def test_word_of_one_compiler_or_system_is_found(line, words):
    assert words_in(line, words) != []
    assert words_in(f"/* {line} */", words) == []


def test_files_that_may_know_are_there():
    names = {path.name for path in C_FILES}
    assert names >= KNOW_COMPILERS | KNOW_SYSTEMS
