"""Helpers of several tests; no test imports from another one."""
