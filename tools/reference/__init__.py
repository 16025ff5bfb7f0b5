"""The generated parts of docs/: one module per page. `python -m tools.reference` writes them."""
