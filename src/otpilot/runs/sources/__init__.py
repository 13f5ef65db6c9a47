"""Where runs are read from: one file a kind of source, one table of their spellings (spelling.py)."""
