"""Pure functions of results: no torch, no pytest."""
