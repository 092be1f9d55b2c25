"""What tests of optimizer steps share."""

import tensorflow as tf


class Recorder:
    """An optimizer that keeps the gradients and does not change the weights."""

    def build(self, variables):
        self.gradients = [tf.Variable(tf.zeros(v.shape)) for v in variables]

    def apply(self, gradients, variables):
        for kept, gradient in zip(self.gradients, gradients, strict=True):
            kept.assign(gradient)


def feed(step, x, y, sizes, **options):
    """Feed the rows of a window in passes of these sizes, and return what the last one did."""
    start, window = 0, None
    for size in sizes:
        rows = slice(start, start + size)
        start += size
        window = step({name: values[rows] for name, values in x.items()}, y[rows], last=start >= len(y), **options)
    return window
