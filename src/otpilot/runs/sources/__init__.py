"""Where runs are read from: one module a source, all giving `RunHistory`."""
