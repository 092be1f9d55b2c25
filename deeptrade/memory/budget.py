"""One budget of bytes: whoever wants to hold a buffer takes a lease first, so that too much is never allocated.

The budget is what its leases hold plus what is still available under every limit (user, cgroup, rlimit, machine).
So it shrinks when other processes take memory and grows when they give it back.
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
from .limits import LimitWatch
from .process import read_memory

HEADROOM = 0.05
"""Share of the available bytes that no lease may take: allocators round up, and others allocate meanwhile."""

_LOOK_SECONDS = 0.5


class Lease:
    """A right to hold some bytes; `release` gives it back, also at the end of a with-block, once."""

    def __init__(self, budget: ByteBudget, nbytes: int):
        self._budget, self.nbytes = budget, nbytes

    def release(self) -> None:
        """Give the bytes back; again does nothing."""
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


class ByteBudget:
    """Leases of bytes under a limit that is asked for again and again; safe from several threads.

    `limit` returns the bytes that all leases together may hold at this moment. `on_shortage` functions are called, in
    the order they were added, when a lease does not fit: they free what can be had again, a cache or mapped pages.

    >>> budget = ByteBudget(lambda: 100)
    >>> with budget.lease(60, "a buffer"):
    ...     budget.try_lease(60), budget.leased_bytes
    (None, 60)
    """

    def __init__(self, limit: Callable[[], int]):
        self._limit = limit
        self._leased = 0
        self._changed = Condition()
        self._shortage: list[Callable[[], Callable[[int], None] | None]] = []
        self._squeezed = False

    @classmethod
    def of_process(cls, user_limit_bytes: int = 0) -> ByteBudget:
        """Return the budget of this process: what is left under every limit that applies, and under the user's."""
        budget: ByteBudget
        watch = LimitWatch(user_limit_bytes)
        before = read_memory().anon_bytes
        seen = -_LOOK_SECONDS, 0

        def limit() -> int:
            nonlocal seen
            now = time.monotonic()
            if now - seen[0] >= _LOOK_SECONDS:
                anon = read_memory().anon_bytes
                # What is leased and not yet touched is still among the available bytes.
                touched = max(0, min(budget._leased, anon - before))
                seen = now, touched + int(watch.available_bytes(anon) * (1 - HEADROOM))
            return seen[1]

        budget = cls(limit)
        return budget

    @property
    def leased_bytes(self) -> int:
        """Bytes under lease now."""
        return self._leased

    @property
    def limit_bytes(self) -> int:
        """Bytes that all leases together may hold now."""
        return self._limit()

    def on_shortage(self, free: Callable[[int], None]) -> None:
        """Let `free` (called with the bytes wanted) free what it can before a lease is refused.

        A method is forgotten with its object.
        """
        self._shortage.append(WeakMethod(free) if isinstance(free, MethodType) else lambda: free)

    def off_shortage(self, free: Callable[[int], None]) -> None:
        """Forget a function given to `on_shortage`."""
        self._shortage = [known for known in self._shortage if known() not in (None, free)]

    def squeeze(self, squeezed: bool) -> None:
        """Refuse leases that nobody waits for, and free what can be had again, until called with False."""
        self._squeezed = squeezed
        for known in list(self._shortage) if squeezed else ():
            free = known()
            if free:
                free(self._leased)

    def try_lease(self, nbytes: int, *, needed: bool = True) -> Lease | None:
        """Return a lease if it fits now, else None; for what is `needed`, others first free what they can.

        What is not needed, a cache or a batch read ahead, gets none while the budget is squeezed.
        """
        if self._squeezed and not needed:
            return None
        for known in (None, *(self._shortage if needed else ())):
            free = known and known()
            if free:
                free(nbytes)
            with self._changed:
                if self._leased + nbytes <= self._limit():
                    self._leased += nbytes
                    return Lease(self, nbytes)
        return None

    def lease(self, nbytes: int, what: str, *, advice: str = "", timeout_seconds: float | None = None) -> Lease:
        """Return a lease, waiting until others have given enough back.

        `what` is the buffer in words. Raises DoesNotFitError where the lease alone is over the limit, or the time is
        over: with the bytes asked for, the limit, and `advice`.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            lease = self.try_lease(nbytes)
            if lease is not None:
                return lease
            limit, late = self._limit(), deadline is not None and time.monotonic() >= deadline
            if late or (nbytes > limit and not self._leased):
                held = f", {format_bytes(self._leased)} of it in use" if self._leased else ""
                raise DoesNotFitError(
                    f"{what} needs {format_bytes(nbytes)}, {format_bytes(limit)} may be used{held}; "
                    f"{advice or 'free some memory or raise --memory_limit'}"
                )
            with self._changed:
                self._changed.wait(_LOOK_SECONDS)

    def _give_back(self, nbytes: int) -> None:
        with self._changed:
            self._leased -= nbytes
            self._changed.notify_all()
