"""What a request to be forgotten reaches: the versions that learned from a person's rows."""
