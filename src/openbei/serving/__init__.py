"""Serving between HTTP and the engine: tokenizer, packing policy, scheduler, metrics. No HTTP, no backend."""
