"""The routes of text-embeddings-inference, which BEI has, too."""
