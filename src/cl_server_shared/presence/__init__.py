"""Which workers there are: what they tell of themselves, and who listens."""
