"""How good forecasts are: `predict` makes them, `evaluation` compares them with simple ones, with intervals.

What a training run logs about itself belongs to `training`; tables and figures belong to `report`.
"""
