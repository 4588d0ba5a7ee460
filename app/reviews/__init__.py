"""Questions to a person about candidates that the gate refused."""
