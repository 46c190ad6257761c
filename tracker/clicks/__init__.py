"""The click front, its journal and the loader."""
