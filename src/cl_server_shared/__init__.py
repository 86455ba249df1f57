"""Jobs, files and events for media and ML services."""
