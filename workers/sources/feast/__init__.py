"""What Feast's servers say on the wire: the registry and the feature server in JSON, the offline server in Arrow Flight."""
