"""How good forecasts are: `predict` makes them, `baselines` makes simple ones, `scores` measures both with intervals
from `resampling`, `verdict` says in one sentence whether there is evidence of skill, `evaluate` puts it together. What
trading on them would have earned is `costs`, of positions in `trades`.

What a training run logs about itself belongs to `training`; tables and figures belong to `report`.
"""
