"""Columns that are made: joined by SQL, derived by expressions, and traced back to their sources."""
