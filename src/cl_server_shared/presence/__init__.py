"""Which workers are there: each announces itself, and services keep a registry."""
