"""The service's back: it learns; it never speaks HTTP to callers."""
