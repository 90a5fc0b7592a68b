"""Reports: figures, tables and one offline HTML page."""
