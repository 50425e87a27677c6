"""What happens to probabilities after the network: decisions other than the most probable class. Opens no file."""
