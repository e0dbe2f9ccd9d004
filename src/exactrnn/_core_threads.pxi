# How many threads calls may use. Included by _core.pyx.


def thread_runtime():
    """Where threads come from."""
    return xr_runtime.decode()


def thread_limit():
    """The most threads that may be wished for."""
    return XR_MAX_THREADS


def max_threads():
    """Threads in force for calls from this thread, as some milliseconds ago."""
    return xr_max_threads()


def max_threads_now():
    """Threads in force for calls from this thread; asks the system."""
    return xr_max_threads_now()


def thread_wish():
    """The calling thread's number of threads, and whether somebody has chosen it."""
    cdef xr_thread_wish_of wish = xr_thread_wish()
    return wish.threads, bool(wish.chosen)


def wish_threads(int threads, bint chosen=True):
    """Wish for that many threads in calls from this thread."""
    xr_wish_threads(xr_thread_wish_of(threads, chosen))


def unwish_threads():
    """Take back what the calling thread has wished for."""
    xr_wish_threads(xr_no_thread_wish())


def watch_quota(str quota, str period=None):
    """Let the number of threads follow the CPU quota that is read in these files."""
    cdef bytes quota_path = os.fsencode(quota)
    cdef bytes period_path = b"" if period is None else os.fsencode(period)
    return bool(xr_watch_quota(
        quota_path, NULL if period is None else <const char *> period_path
    ))


def worker_delay(delays=None):
    """Nanoseconds that workers sleep before a call, an item, a part; sets `delays`."""
    cdef xr_worker_delay_of *delay = &xr_worker_delay
    before = (delay.before_seat, delay.in_item, delay.in_part)
    if delays is not None:
        delay.before_seat, delay.in_item, delay.in_part = delays
    return before


def hand_overs():
    """How often items changed hands: taken over before they began; handed on after."""
    cdef xr_hand_overs_of all_calls = xr_hand_overs()
    return all_calls.taken_over, all_calls.handed_on


def exchanging(wanted=None):
    """Tell whether threads exchange items whenever they can; sets `wanted`."""
    global xr_exchanging
    before = xr_exchanging
    if wanted is not None:
        xr_exchanging = wanted
    return bool(before)


def crowded(noted=None):
    """Tell whether a worker woke up on the CPU where its call began; sets `noted`."""
    global xr_crowded
    before = xr_crowded
    if noted is not None:
        xr_crowded = noted
    return bool(before)


def thread_work(limits=None):
    """Multiplications (of a call, of a step) worth another thread; sets `limits`."""
    before = (xr_thread_work.call, xr_thread_work.step)
    if limits is not None:
        xr_thread_work.call, xr_thread_work.step = limits
    return before
