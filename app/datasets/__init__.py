"""Files that callers upload to train on."""
