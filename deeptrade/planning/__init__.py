"""Settings that fit the machine, chosen before anything is built: for `optimize`, and the rules that `fit` applies.

`memory_model` predicts what a training run holds, `search` and `trials` measure it, `plan` is the content of plan.json.
Nothing here trains or imports TensorFlow: each trial runs in its own process.
"""
