# Ctrl-C in long calls, and whatever else signal handlers of Python raise. Included by
# _core.pyx.
#
# A kernel asks `_signalled` now and then, in the thread that made the call, and leaves
# if a handler has raised (csrc/base/stop.h). Handlers run in the main thread of the
# main interpreter alone: calls of other threads are never asked, and never take the
# GIL.

cdef extern from "Python.h":
    ctypedef struct PyObject
    ctypedef struct PyInterpreterState
    unsigned long PyThread_get_thread_ident() noexcept nogil
    PyInterpreterState *PyInterpreterState_Get() noexcept
    PyInterpreterState *PyInterpreterState_Main() noexcept
    int PyErr_CheckSignals() noexcept
    PyObject *PyObject_CallNoArgs(PyObject *function) noexcept
    void Py_DecRef(PyObject *thing) noexcept
    PyObject *PyExc_RuntimeError
    void PyErr_SetString(PyObject *kind, const char *message) noexcept

cdef unsigned long _main_thread = threading.main_thread().ident
cdef object _handler = None
cdef const char *_LEFT_ALONE = (
    b"a signal handler has forked during a call that several threads share: "
    b"they are not in the child, which cannot finish the call"
)


def _note_main_thread():
    """In a forked child: the thread that forked is the only one, and the main one."""
    global _main_thread
    _main_thread = PyThread_get_thread_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_main_thread)


cdef int _signalled(void *context) noexcept with gil:
    """Whether the call is to end; the exception stays set for `_end_call`."""
    cdef PyObject *answer
    if _handler is None:
        if PyErr_CheckSignals() != 0:
            return True
    else:
        answer = PyObject_CallNoArgs(<PyObject *> _handler)
        if answer == NULL:
            return True
        Py_DecRef(answer)
    return _was_left_alone(<const xr_stop *> context)


cdef int _was_left_alone(const xr_stop *stop) noexcept:
    """Whether a handler has forked, and this is the child; raises an exception."""
    if stop.stopped:
        PyErr_SetString(PyExc_RuntimeError, _LEFT_ALONE)
    return stop.stopped


cdef xr_stop *_begin_call(xr_stop *stop) noexcept:
    """Prepare `stop` for a call of the running thread, and return it."""
    stop.stopped = False
    stop.wanted = NULL
    stop.context = stop
    if (PyThread_get_thread_ident() == _main_thread
            and PyInterpreterState_Get() == PyInterpreterState_Main()):
        stop.wanted = _signalled
    return stop


cdef int _end_call(const xr_stop *stop) except -1:
    """Raise what a handler has raised during the call."""
    return -1 if stop.stopped else 0


def stop_pace(limits=None, handler=None):
    """Work before a call first looks, and nanoseconds from question to question.

    Sets `limits`; `handler` is then called in the place of signal handlers, by tests.
    """
    global _handler
    before = (xr_stop_pace.work, xr_stop_pace.nanoseconds)
    if limits is not None:
        xr_stop_pace.work, xr_stop_pace.nanoseconds = limits
        _handler = handler
    return before
