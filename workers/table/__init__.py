"""What canonical tables hold: types, words, targets, equal rows, and the snapshot that a job learns from."""
