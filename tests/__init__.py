"""The suite; `servers` and `waiting` are what its modules share."""
