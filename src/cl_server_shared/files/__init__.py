"""The job storage: where a job's files live, whole or absent."""
