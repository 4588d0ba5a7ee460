"""Values as training saw them, whatever they are written like."""
