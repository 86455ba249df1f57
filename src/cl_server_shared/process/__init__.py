"""What every part stands on: clock, forks, SIGTERM, event loops, background threads, log limits."""
