"""Trained models, their versions and the aliases that point at them."""
