"""The search: what is tried next, what is given up, and what was learned from it."""
