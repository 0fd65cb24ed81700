"""Examples, from wherever they lie."""
