"""The report of a campaign: plain data in (result.py), a terminal view, Markdown or one HTML page out.

terminal.render(result) returns the essence for rich, at 100 columns. markdown.write_markdown(result, path, lang=...)
writes the whole report, markdown.append_round(result, path, number, lang=...) adds a dated section about one round to
the end of a file. html.write_html(result, path, lang=...) writes one self-contained page.
"""
