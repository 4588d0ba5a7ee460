"""Jobs: submit, watch, cancel, retry."""
