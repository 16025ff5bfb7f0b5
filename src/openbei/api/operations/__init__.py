"""What a model does for a request, in any dialect: embed, compare, rank, classify. No wire format of its own."""
