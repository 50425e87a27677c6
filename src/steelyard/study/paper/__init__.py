"""The paper as given data, and its tables worked out again from our own runs."""
