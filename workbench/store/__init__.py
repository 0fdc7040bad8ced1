"""Where it is kept: files are the truth, `catalog.sqlite` is their index."""
