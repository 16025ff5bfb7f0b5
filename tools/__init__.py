"""Programs for working on openbei. None of them is part of an installation."""
