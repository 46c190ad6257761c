"""The catalogues: every sentence that people read, by language; CONTRIBUTING.md, "Words"."""
