"""What is done with engine output: one file a task, pure numpy. No engine, no wire format."""
