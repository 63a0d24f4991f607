"""A cell: what every run is, how it is made of configured objects, and the one way from it to a record."""
