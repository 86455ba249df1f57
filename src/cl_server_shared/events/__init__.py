"""The broadcaster: what the world is told when a job changes."""
