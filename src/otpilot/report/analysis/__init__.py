"""An analysis of runs, rendered as Markdown, single-file HTML, terminal tables and JSON; the live table of `watch`."""
