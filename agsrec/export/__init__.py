"""What a reconstruction leaves behind for people: figures, turntable video, tables and the report.

Nothing is imported here, so that `import agsrec` stays fast; import the module that is needed.
"""
