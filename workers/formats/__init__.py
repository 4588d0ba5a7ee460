"""File formats as tables: what runs on untrusted bytes, and only in a confined process (see `workers.isolation.parsing`)."""
