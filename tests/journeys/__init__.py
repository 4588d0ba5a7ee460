"""Whole jobs over HTTP on a real stack, and what they survive."""
