"""A function of tensors that is traced once and then called without delay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..data.backend import tf
from ..memory.collection import trimming


class Traced:
    """Calls a function as one TensorFlow graph, with jit as one XLA program.

    It is traced at the first call, for the tensors of that call or for `signature`, and later calls must have the same
    structure, dtypes and shapes, but for what the signature leaves open: nothing is checked or traced again. A
    tf.function compares its arguments with what it has traced before; beside a small step that is not little.
    """

    def __init__(self, function: Callable[..., Any], *, signature: Sequence[Any] | None = None, jit: bool = False):
        self._function = tf.function(function, input_signature=signature, jit_compile=jit or None)
        self._signature = signature
        self._concrete: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Return the function's result for tensors or arrays, also nested in dicts and lists."""
        if self._concrete is not None:
            return self._call(arguments)
        with trimming(), _forgetting_gradients():
            tensors = tf.nest.map_structure(tf.convert_to_tensor, arguments)
            given = () if self._signature else tensors
            self._concrete = self._function.get_concrete_function(*given)
            return self._call(tensors)

    def _call(self, arguments: Sequence[Any]) -> Any:
        tensors = [tf.convert_to_tensor(one) for one in tf.nest.flatten(arguments)]
        return self._concrete._call_flat(tensors, self._concrete.captured_inputs)

    @property
    def tracing_count(self) -> int:
        """Number of times the function was traced."""
        return self._function.experimental_get_tracing_count()


@contextmanager
def _forgetting_gradients() -> Iterator[None]:
    """Remove from TensorFlow's registry the gradients that tracing in the block has registered.

    Each would keep its whole graph alive as long as the process: 45 MB for every run in one notebook. Keras's
    optimizers register one through `all_reduce`. They are not used after tracing.
    """
    from tensorflow.python.framework import ops

    known = getattr(ops.gradient_registry, "_registry", {})
    before = set(known)
    try:
        yield
    finally:
        for name in set(known) - before:
            del known[name]
