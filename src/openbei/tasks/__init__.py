"""Post-processing of engine output in numpy, one file per task. No engine, no wire format."""
