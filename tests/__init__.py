"""The tests, as a package: each module of them has one name, in whatever process."""
