"""The course: nine objectives, what a lab shows of them, and labs for a class.

What is taught stands in docs/course, one page for each objective; here is what reads those pages,
and what looks at a lab to find out whether an objective is reached.
"""
