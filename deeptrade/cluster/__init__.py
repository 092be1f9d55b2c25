"""More than one process or machine: each engine in one file, and nothing outside this room imports an engine.

An engine fits a protocol of the room that uses it (`training.team.Engine`); commands hand it in. No engine is needed
for one process on one machine.
"""
