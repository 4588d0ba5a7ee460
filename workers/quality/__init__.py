"""Whether a table can be trusted: the contract, counts, leaks, drift, and the findings that say so."""
