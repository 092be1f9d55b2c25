"""Data in object stores: addresses such as s3://bucket/name, their files as `InputFile`, and what is written there.

`address` is how one is spelled, `client` the only module that knows the client (the extra `deeptrade[cloud]`) and its
errors, `files` reads data by ranges. How a store lies there, and its cache here, is in `store`.
"""
