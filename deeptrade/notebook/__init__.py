"""What runs, copies, feeds and shows notebooks: for `run`, its grid, `lab`, explore's widgets, `%load_ext deeptrade`.

The notebooks themselves lie in the folder `notebooks`; their pages are rendered by `report`.
"""
