"""The CUDA backend: runs packed batches on an NVIDIA GPU with torch and Triton. Needs the extra `cuda`."""
