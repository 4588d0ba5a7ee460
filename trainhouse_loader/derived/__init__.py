"""Columns that expressions make of others."""
