"""The service's front: it accepts, remembers and announces; it imports no ML library."""
