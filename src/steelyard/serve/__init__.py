"""A run store in a browser on the same machine: studies as they run, their reports, their cases."""
