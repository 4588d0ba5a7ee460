"""Features as numbers."""
