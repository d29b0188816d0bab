"""A whole search: configuration, driver, run directory, progress and report."""
