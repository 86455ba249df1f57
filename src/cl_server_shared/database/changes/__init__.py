"""Knowing that a database changed without asking it over and over."""
