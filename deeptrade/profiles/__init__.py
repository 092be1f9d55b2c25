"""Profiles: what a data file holds, as plain numbers, for `profile` and notebook 01.

The name is plural because `deeptrade.profile` is the function. Tables and figures of a profile belong to `report`.
"""
