"""The floating-point mode of a thread, set behind the library's back.

Rounding modes and flush-to-zero on x86; other libraries set them, and pickle, fork and
pools of threads hand them on.
"""

import contextlib
import ctypes
import platform

import pytest

MODES = {
    "toward zero": 0x6000,
    "up": 0x4000,
    "down": 0x2000,
    "ftz": 0x8000,
    "daz": 0x40,
}
MXCSR_AT = 28  # in the 32 bytes of fenv_t


class FloatingPointEnvironment:
    """The SSE control word of this thread, by way of the C library."""

    def __init__(self):
        self.libm = ctypes.CDLL("libm.so.6")

    def get(self):
        memory = (ctypes.c_ubyte * 32)()
        assert self.libm.fegetenv(memory) == 0
        return int.from_bytes(bytes(memory[MXCSR_AT:]), "little")

    def set(self, mxcsr):
        memory = (ctypes.c_ubyte * 32)()
        self.libm.fegetenv(memory)
        memory[MXCSR_AT:] = mxcsr.to_bytes(4, "little")
        assert self.libm.fesetenv(memory) == 0

    @contextlib.contextmanager
    def changed(self, bits):
        before = self.get()
        self.set(before | bits)
        try:
            yield
        finally:
            self.set(before)


needs_mxcsr = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="sets MXCSR, an x86 register"
)
CONTROL_BITS = 0xFFC0  # the rest are flags that arithmetic raises
