"""exactrnn/model.pxd, for Cython: all that the headers have, and of the same types.

test_installed.py runs the module that is made here.
"""

import re
import subprocess
import sys
import sysconfig

import pytest
from builds import chosen_compiler
from test_abi import INCLUDE, code_of
from variants import ROOT

import exactrnn as xr

DECLARED = ROOT / "src" / "exactrnn" / "model.pxd"
FUNCTION = re.compile(r"\b(xr_\w+)\(")
PROGRAM = """# cython: language_level=3
from libc.stdint cimport int64_t
from exactrnn.model cimport *

def answer(bytes path, float[:, ::1] x, float[:, ::1] y):
    cdef xr_model *model = NULL
    cdef xr_stream *stream = NULL
    cdef xr_model_info info
    cdef Py_ssize_t t
    info.struct_size = sizeof(info)
    try:
        if (xr_model_load(path, NULL, &model) != XR_OK
                or xr_model_describe(model, &info) != XR_OK
                or xr_stream_new(model, 1, &stream) != XR_OK):
            raise ValueError(xr_message().decode())
        for t in range(x.shape[0]):
            if xr_stream_step(stream, &x[t, 0], &y[t, 0]) != XR_OK:
                raise ValueError(xr_message().decode())
        return info.class_name.decode(), info.outputs, info.state_width[0]
    finally:
        xr_stream_free(stream)
        xr_model_free(model)

def others(bytes content):  # compiled, for its types
    cdef xr_model *model = NULL
    cdef xr_stream *stream = NULL
    cdef xr_model_options options
    cdef xr_run run
    cdef xr_stop stop
    cdef int64_t clock = 0
    cdef float state = 0
    options.isa = NULL
    run.state[0] = &state
    run.state_out[0] = &state
    run.clock = run.lengths = &clock
    run.x.data = run.y.data = &state
    run.stop = &stop
    return (
        xr_model_load_bytes(<char *>content, len(content), &options, &model),
        xr_model_run(model, &run),
        xr_stream_reset(stream),
        xr_stream_get_state(stream, 0, &state),
        xr_stream_set_state(stream, 0, &state),
        xr_stream_get_clock(stream, &clock),
        xr_stream_set_clock(stream, &clock),
        xr_version(), xr_isa_at(0), xr_max_threads(), xr_set_threads(1), XR_MAX_STATES,
    )
"""


def translate(folder):
    """Return the C file that Cython makes of the program."""
    pytest.importorskip("Cython", reason="needs cython: extra test")
    (folder / "none.pyx").write_text(PROGRAM)
    made = [sys.executable, "-m", "cython", "-3", "-I", ROOT / "src", "none.pyx"]
    done = subprocess.run(made, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "none.c"


def compile_module(source, *more):
    include = sysconfig.get_paths()["include"]
    out = source.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
    kinds = ("incompatible-pointer-types", "int-conversion")
    strict = (f"-Werror={kind}" for kind in (*kinds, "implicit-function-declaration"))
    flags = [*strict, "-shared", "-fPIC", f"-I{include}", f"-I{xr.get_include()}"]
    command = [*chosen_compiler().split(), *flags, source, "-o", out, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_functions_of_the_header_are_declared_with_their_types(tmp_path):
    header = code_of(INCLUDE / "exactrnn" / "model.h")
    declared = {*FUNCTION.findall(DECLARED.read_text())}
    assert {*FUNCTION.findall(header)} <= declared
    assert declared <= {*FUNCTION.findall(PROGRAM)}
    compile_module(translate(tmp_path))
