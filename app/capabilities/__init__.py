"""What a job spec may name: algorithms and metrics."""
