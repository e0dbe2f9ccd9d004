"""Call the public interface with strange arguments, so often or so long.

    python tests/helpers/fuzz_api.py --calls 100000     (minutes; also: pytest -m deep)
    python tests/helpers/fuzz_api.py --seconds 60 --seed 7

Hypothesis chooses the call, the argument and what is strange about it (`fuzzed.py`,
`strange.py`). Each outcome is judged:

* the same values in another layout give the same bits;
* anything else raises `ValueError`, `TypeError` or `MemoryError` with a message of at
  most a screenful that names the argument, and nothing is changed; or it is taken, and
  then gives the bits that a plain copy of the same values gives.

A signal, or a call that does not end, shows as this program's own end: the last call is
written to a file beforehand. Tests run it as a child for that reason.
"""

import argparse
import faulthandler
import functools
import re
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from arrays import same_bits
from fuzzed import CASES, Source
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from strange import ARRAY_STRANGERS, LAYOUTS, NUMBERS, plain_copy

SCREENFUL = 2000
"""Characters that a message may have."""
MEMORY = 6 * 2**30
PATIENCE = 20.0
"""Seconds after which a call counts as hanging."""
EXPECTED = (ValueError, TypeError, MemoryError)
UNREPEATABLE = ("liar", "generator", "endless")
"""Strangers that have no second answer, or no room for a copy, to compare with."""
WRITTEN = {"out", "gradients", "weights"}
"""Arguments that a call may write to: not every layout can be."""
OWN_WORDS = "not today"
"""What a stranger says that raises by itself; nobody else has to explain that."""


class UnexpectedError(AssertionError):
    """A call that did what no call may do."""


def places_in(arguments):
    """Return the paths of everything in the arguments that can be replaced."""
    found = []
    for name, value in arguments.items():
        found.append((name,))
        inner = value.items() if isinstance(value, dict) else None
        if isinstance(value, tuple | list):
            inner = enumerate(value)
        for key, part in inner or ():
            found.append((name, key))
            if isinstance(part, tuple | list):
                found += [(name, key, k) for k in range(len(part))]
    return found


def value_at(arguments, place):
    return functools.reduce(lambda value, key: value[key], place, arguments)


def replaced(container, place, value):
    """Return a copy of nested arguments with another value in one place."""
    if not place:
        return value
    key, *rest = place
    if isinstance(container, dict):
        return {**container, key: replaced(container[key], rest, value)}
    parts = list(container)
    parts[key] = replaced(parts[key], rest, value)
    return type(container)(parts)


@st.composite
def strange_calls(draw):
    """Choose a call, a place in its arguments, and what stands there instead."""
    name = draw(st.sampled_from(sorted(CASES)))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    seed = draw(st.integers(0, 2**16))
    case = CASES[name](Source(seed, np.dtype(dtype)))
    place = draw(st.sampled_from(places_in(case.arguments)))
    value = value_at(case.arguments, place)
    kinds = ["number"]
    if isinstance(value, np.ndarray):
        kinds += ["stranger", "stranger"]
        if place[0] not in WRITTEN:
            kinds += ["layout", "layout"]
    kind = draw(st.sampled_from(kinds))
    pool = {
        "number": sorted(NUMBERS),
        "stranger": sorted(ARRAY_STRANGERS),
        "layout": range(len(LAYOUTS)),
    }
    return name, case, place, kind, draw(st.sampled_from(pool[kind]))


def stranger_of(value, kind, which):
    """Return what stands in the place of `value`."""
    if kind == "layout":
        return LAYOUTS[which](value)
    if kind == "number":
        return NUMBERS[which]
    return ARRAY_STRANGERS[which](value)


def outcome_of(make, arguments):
    """Return results and None, or None and the exception."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return make(**arguments), None
    except Exception as error:
        return None, error


def judge_error(error, names):
    """Raise unless an exception is one that helps: it names an argument."""
    if str(error) == OWN_WORDS:
        return
    if not isinstance(error, EXPECTED):
        raise UnexpectedError(
            f"raised {type(error).__name__}: {str(error)[:300]}"
        ) from error
    text = str(error)
    if len(text) > SCREENFUL:
        raise UnexpectedError(f"a message of {len(text)} characters: {text[:300]}")
    if isinstance(error, MemoryError):
        return
    if not any(re.search(rf"\b{re.escape(name)}\b", text) for name in names):
        raise UnexpectedError(f"the message names none of {names[:9]}: {text[:300]}")


def equal(first, second):
    """Tell whether results are the same bits; two NaN are, whatever their payloads."""
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, dict):
        pairs = ((first[key], second.get(key)) for key in first)
        return first.keys() == second.keys() and all(equal(a, b) for a, b in pairs)
    if isinstance(first, float | np.floating):
        first, second = np.asarray(first), np.asarray(second)
    if isinstance(first, np.ndarray) and first.dtype.kind == "f":
        if not isinstance(second, np.ndarray) or first.shape != second.shape:
            return False
        both = np.isnan(first) & np.isnan(second)
        pair = [np.where(both, 0, array) for array in (first, second)]
        return first.dtype == second.dtype and same_bits(*pair)
    return first is second or bool(np.all(first == second))


def judge(case, place, kind, which):
    """Make one strange call and raise `UnexpectedError` if it ends as it must not."""
    value = value_at(case.arguments, place)
    try:
        stranger = stranger_of(value, kind, which)
    except (TypeError, ValueError, IndexError):
        return  # there is no such form of these values
    before = case.memory()
    given = replaced(case.arguments, place, stranger)
    plain = plain_copy(given) if which not in UNREPEATABLE else None
    results, error = outcome_of(case.make, given)
    if error is not None:
        if kind == "layout":
            raise UnexpectedError(f"refused: {str(error)[:300]}") from error
        judge_error(error, [*case.arguments, *case.words])
        if not equal(before, case.memory()):
            raise UnexpectedError(f"changed something, then raised {str(error)[:300]}")
        return
    if plain is None:
        return
    expected, refusal = outcome_of(case.make, plain)
    if refusal is not None:
        raise UnexpectedError(f"taken, but not as a plain copy: {str(refusal)[:300]}")
    if not equal(results, expected):
        raise UnexpectedError("other bits than of a plain copy")


def run(calls, seconds, seed, log):
    """Fuzz; returns the number of calls and the failures, one text for each kind."""
    done, round_of, failures = 0, 0, {}
    end = time.monotonic() + seconds

    def one_round():
        @with_seed(seed + round_of)
        @settings(
            max_examples=min(2000, max(1, calls - done)),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strange_calls())
        def fuzz(call):
            nonlocal done
            name, case, place, kind, which = call
            what = LAYOUTS[which].__name__ if kind == "layout" else which
            text = f"{name}, {'.'.join(map(str, place))} as {what!r} ({kind})"
            log.write_text(text, errors="replace")
            if time.monotonic() > end:
                return
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            try:
                judge(case, place, kind, which)
            except UnexpectedError as failure:
                failures.setdefault((name, place[0], str(failure)[:60]), text)
                print(f"{text}: {failure}", flush=True)
            finally:
                faulthandler.cancel_dump_traceback_later()
            done += 1

        fuzz()

    while done < calls and time.monotonic() < end:
        one_round()
        round_of += 1
    return done, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--calls", type=int, default=10**9, help="stop after so many")
    parser.add_argument("--seconds", type=float, default=1e9, help="or after this time")
    parser.add_argument("--seed", type=int, default=0, help="of what is chosen")
    parser.add_argument(
        "--log", type=Path, default=Path("fuzz_api.log"), help="where the last call is"
    )
    given = parser.parse_args()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    done, failures = run(given.calls, given.seconds, given.seed, given.log)
    print(f"{done} calls, seed {given.seed}: {len(failures)} kinds of failure")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
