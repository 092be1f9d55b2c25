"""How good forecasts are: `predict` makes them, `baselines` are simple ones, `scores` compare the two.

What a training run logs about itself belongs to `training`; tables and figures belong to `report`.
"""
