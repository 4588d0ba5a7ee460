"""Gate policies: named, versioned rules, and what they would have said of past candidates."""
