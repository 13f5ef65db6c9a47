"""One result object, rendered as Markdown, single-file HTML and terminal tables."""
