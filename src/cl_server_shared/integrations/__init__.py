"""Other people's interfaces, served by ours."""
