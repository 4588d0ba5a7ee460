"""Fits: one, over folds, again on more rows, several that answer together."""
