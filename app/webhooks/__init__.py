"""Where projects want their events sent, and what became of each delivery."""
