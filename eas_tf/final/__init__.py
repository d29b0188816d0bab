"""The final training of a network that a search has found."""
