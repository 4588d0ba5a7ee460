"""Tests of the job engine on a real Postgres."""
