"""The benchmarks: `python -m benchmarks`, or `make bench`. They need the packages of the extra `bench`."""
