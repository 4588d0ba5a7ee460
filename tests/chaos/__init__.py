"""Random faults, many of them, and the invariants that hold all the same."""
