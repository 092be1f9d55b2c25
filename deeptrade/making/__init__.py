"""Files of our layout, made here: from exchange klines (`klines`), or simulated (`synthetic`).

For commands `build` and `synth`. `bars` turns a series of bars into rows, `indicators` computes what a row holds beside
its windows. Reading files that others wrote belongs to `sources`.
"""
