"""The second stage: an agent that turns forecasts into positions, and an honest account of what that is worth.

A small position moves no price, so what every position would have earned at every past row is known. `market` and
`state` hold that as arrays, `values` and `learning` learn what positions are worth, `policies` has the agent's rivals,
`accounting` judges them all on rows that chose nothing. `stage` puts it together for `fit` and notebook 07. How good
forecasts are is not here: that is `judging`.
"""
