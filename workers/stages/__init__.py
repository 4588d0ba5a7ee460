"""The ten stages, one verb a file; each is a function of a Context."""
