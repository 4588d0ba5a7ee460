"""Trainhouse on one machine: engines from wheels, a supervisor, the demonstration and the `trainhouse` command."""
