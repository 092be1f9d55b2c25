"""Memory limits that tests make up."""

from deeptrade.memory import Limit, MemoryLimits


class MadeUpLimits(MemoryLimits):
    """The limits given, and the user's where `text` names one, instead of those of this machine."""

    def __init__(self, *limits: Limit, text: str = ""):
        super().__init__(text)
        self._made_up = limits

    def all(self) -> list[Limit]:
        return [*self._made_up, *(limit for limit in super().all() if limit.source == "user")]


def machine_of(nbytes: int, *, text: str = "") -> MadeUpLimits:
    """A machine that has so many bytes, all of them free."""
    return MadeUpLimits(Limit("machine", nbytes, nbytes), text=text)
