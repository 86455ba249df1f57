"""The SQL of the jobs, one file for each group of verbs."""
