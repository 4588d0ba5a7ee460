"""Projects and the API keys that speak for them."""
