"""The steps of `benchmarks.cuda_once`: each is a module with `run(run: Run) -> dict`, and each also runs on a CPU."""
