"""Side-by-side comparisons with other engines. `make bench` runs them all and writes RESULTS.md."""
