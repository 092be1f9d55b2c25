"""What the files of a run say, as typed numbers: one module per subject, and one function per number.

Tables, figures, sentences and pages only format what these functions return.
"""
