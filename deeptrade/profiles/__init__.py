"""What a data file holds, as plain numbers: for `profile`, and notebook 01.

Named in the plural since `deeptrade.profile` is the function. Tables and figures of a profile belong to `report`.
"""
