"""How to reach callers' own data engines."""
