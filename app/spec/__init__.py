"""The language of a job: pure Pydantic, no side effects, no ML."""
