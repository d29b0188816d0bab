"""A whole search: what it is told, its budgets, its networks, batch by batch."""
