"""Processes of their own for what must be fresh or may be hostile."""
