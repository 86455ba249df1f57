"""The job repository: what may happen to a job, and the statements that carry it out."""
