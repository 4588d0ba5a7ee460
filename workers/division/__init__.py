"""Which rows train, steer and judge, and the certificate of it."""
