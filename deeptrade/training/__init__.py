"""Training: exact accumulation, checkpoints, validation, and `fit`, which combines them into a run.

Nothing is imported here, so that `fit` can reject a wrong path before it pays for importing TensorFlow.
"""
