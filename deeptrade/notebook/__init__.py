"""What runs, feeds and shows notebooks: for `run`, its grid, the explore notebook's widgets, and `%load_ext deeptrade`.

The notebooks themselves lie in the folder `notebooks`; their pages are rendered by `report`.
"""
