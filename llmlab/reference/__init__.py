"""The reference: pages of Markdown that are made from the code, and so say what it does.

`python -m llmlab.reference FOLDER` writes the pages of the version that is installed. In the
project they are kept in docs/, and a test fails when one of them is not what the code says.
"""
