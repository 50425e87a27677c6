"""Cached slices on the device, in shuffled and augmented batches."""
