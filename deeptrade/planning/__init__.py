"""Settings that fit the machine, chosen before anything is built: for `optimize`, and the rules that `fit` applies.

`memory_model` predicts what a training run holds and how much it may hold; `search`, `trial` and `trial_choice` measure
it; `plan` is the content of plan.json.
Nothing here trains or imports TensorFlow: each trial runs in its own process.
"""
