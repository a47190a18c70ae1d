"""What a result is: its files, its report, and what is said of it.

Nothing is imported here, so that `import agsrec` stays fast; import the module that is needed.
"""
