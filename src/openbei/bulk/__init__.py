"""Running a model over files: rows in, the same rows with results out, in parts that an interrupted run keeps."""
