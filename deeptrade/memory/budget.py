"""A budget of bytes: every buffer takes a lease first, so that too much is never allocated.

The budget is what its leases hold plus what is still available under every limit (user, cgroup, rlimit, machine).
It shrinks when other processes take memory and grows when they return it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition
from types import MethodType, TracebackType
from typing import Literal
from weakref import WeakMethod

from ..errors import DoesNotFitError
from ..units import format_bytes
from .limits import MemoryLimits
from .process import read_memory

BUDGET_HEADROOM = 0.05
"""Share of the available bytes that no lease may take: allocators round up, and others allocate meanwhile."""

_LOOK_SECONDS = 0.5


class Lease:
    """A right to hold some bytes, returned once: by `release`, or at the end of a with-block."""

    def __init__(self, budget: ByteBudget, nbytes: int):
        self._budget, self.nbytes = budget, nbytes

    def release(self) -> None:
        """Return the bytes; calling it again does nothing."""
        nbytes, self.nbytes = self.nbytes, 0
        if nbytes:
            self._budget._give_back(nbytes)

    def __del__(self) -> None:
        self.release()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.release()
        return False


class _Leases:
    """What several budgets share: the bytes under lease, what can be freed when they run short, and who waits.

    `anon_before` is the anonymous memory when nothing was under lease last: what has been added since then may be
    leased memory that was touched.
    """

    def __init__(self) -> None:
        self.nbytes = self.anon_before = 0
        self.changed = Condition()
        self.shortage: list[Callable[[], Callable[[int], None] | None]] = []
        self.squeezed = False

    def take(self, nbytes: int) -> None:
        """Count a lease; call with `changed` held."""
        if not self.nbytes:
            self.anon_before = read_memory().anon_bytes
        self.nbytes += nbytes


class ByteBudget:
    """Leases of bytes under a limit that is read again each time; safe to use from several threads.

    `limit` returns the bytes that all leases together may hold now. `on_shortage` functions are called, in the order
    they were added, when a lease does not fit: they free what can be rebuilt, such as a cache or mapped pages.

    >>> budget = ByteBudget(lambda: 100)
    >>> with budget.lease(60, "a buffer"):
    ...     budget.try_lease(60), budget.leased_bytes
    (None, 60)
    """

    def __init__(self, limit: Callable[[], int], *, leases: _Leases | None = None):
        self._limit = limit
        self._leases = leases or _Leases()

    @classmethod
    def of_process(cls, limits: MemoryLimits | None = None) -> ByteBudget:
        """Return the budget of this process: what is left under every limit that applies (None: without a user's).

        All budgets of a process share their leases, so that two readers cannot get the same bytes.
        """
        limits = limits or MemoryLimits()
        leases = _of_this_process
        looked = -_LOOK_SECONDS, 0

        def limit() -> int:
            nonlocal looked
            now = time.monotonic()
            if now - looked[0] >= _LOOK_SECONDS:
                # What is leased and not yet touched is still among the available bytes.
                touched = max(0, min(leases.nbytes, read_memory().anon_bytes - leases.anon_before))
                looked = now, touched + int(limits.available_bytes() * (1 - BUDGET_HEADROOM))
            return looked[1]

        return cls(limit, leases=leases)

    @property
    def leased_bytes(self) -> int:
        """Bytes under lease now."""
        return self._leases.nbytes

    @property
    def limit_bytes(self) -> int:
        """Bytes that all leases together may hold now."""
        return self._limit()

    def on_shortage(self, free: Callable[[int], None]) -> None:
        """Let `free` (called with the bytes wanted) free what it can before a lease is refused.

        A method is forgotten with its object.
        """
        self._leases.shortage.append(WeakMethod(free) if isinstance(free, MethodType) else lambda: free)

    def off_shortage(self, free: Callable[[int], None]) -> None:
        """Forget a function given to `on_shortage`."""
        self._leases.shortage = [known for known in self._leases.shortage if known() not in (None, free)]

    def squeeze(self, squeezed: bool) -> None:
        """Refuse optional leases, and free what can be rebuilt, until called with False."""
        self._leases.squeezed = squeezed
        for known in list(self._leases.shortage) if squeezed else ():
            free = known()
            if free:
                free(self._leases.nbytes)

    def try_lease(self, nbytes: int, *, needed: bool = True) -> Lease | None:
        """Return a lease if it fits now, else None; if it is `needed`, others first free what they can.

        What is optional, a cache or a batch read ahead, gets none while the budget is squeezed.
        """
        if self._leases.squeezed and not needed:
            return None
        for known in (None, *(self._leases.shortage if needed else ())):
            free = known and known()
            if free:
                free(nbytes)
            with self._leases.changed:
                if self._leases.nbytes + nbytes <= self._limit():
                    self._leases.take(nbytes)
                    return Lease(self, nbytes)
        return None

    def lease(self, nbytes: int, what: str, *, advice: str = "", timeout_seconds: float | None = None) -> Lease:
        """Return a lease, waiting until others have returned enough.

        `what` names the buffer. Raises DoesNotFitError if the lease alone exceeds the limit or the time is up; the
        message holds the bytes asked for, the limit, and `advice`.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            lease = self.try_lease(nbytes)
            if lease is not None:
                return lease
            limit, late = self._limit(), deadline is not None and time.monotonic() >= deadline
            if late or (nbytes > limit and not self._leases.nbytes):
                held = f", {format_bytes(self._leases.nbytes)} of it in use" if self._leases.nbytes else ""
                raise DoesNotFitError(
                    f"{what} needs {format_bytes(nbytes)}, {format_bytes(limit)} may be used{held}; "
                    f"{advice or 'free some memory or raise --memory_limit'}"
                )
            with self._leases.changed:
                self._leases.changed.wait(_LOOK_SECONDS)

    def _give_back(self, nbytes: int) -> None:
        with self._leases.changed:
            self._leases.nbytes -= nbytes
            self._leases.changed.notify_all()


_of_this_process = _Leases()
