"""How good forecasts are: `predict` makes them, `baselines` makes simple ones, `scores` and `evaluate` compare them.

What a training run logs about itself belongs to `training`; tables and figures belong to `report`.
"""
