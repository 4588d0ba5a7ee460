"""Requests to a deployer to serve a version, and what it reported."""
