"""What openbei is measured by: `python -m benchmarks`, or `make bench`. Needs the judges of the extra `bench`."""
