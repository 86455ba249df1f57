"""Waiting for jobs and for work: one watch of the database wakes all who wait."""
