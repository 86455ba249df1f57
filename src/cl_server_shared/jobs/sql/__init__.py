"""The SQL of the jobs, one file for each group of verbs.

A statement is written as text, for both dialects at once where they agree. It never decides: what
a job becomes is decided in `lifecycle`, and the conditions here only make sure that the job still
is what the decision was about.
"""
