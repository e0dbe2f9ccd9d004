"""The checked functions of the C library, called rightly and wrongly (checked.c)."""

import subprocess

from c_library import sanitized_program


def test_wrong_calls_are_refused_and_right_ones_give_the_same_bits():
    # Leaks are no question: the program ends.
    environment = ["env", "ASAN_OPTIONS=detect_leaks=0"]
    words = [*environment, str(sanitized_program("checked"))]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
