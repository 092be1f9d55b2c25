"""Training: exact accumulation, checkpoints, validation, and `fit`, which makes a run of them.

Nothing is imported here: `fit` finds out that a path is wrong before it pays for TensorFlow.
"""
