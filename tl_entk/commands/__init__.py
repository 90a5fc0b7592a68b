"""The command line: options, messages, summaries.

May import: everything.
"""
