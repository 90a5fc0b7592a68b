"""Reports: figures, tables and one offline HTML page.

May import: everything but commands.
"""
