"""One file per line of docs/benchmarks.md: what is measured, ours, the peer's, and the limit."""
