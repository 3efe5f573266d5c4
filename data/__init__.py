"""Training data of all domains, offline and online; data on the hub."""
