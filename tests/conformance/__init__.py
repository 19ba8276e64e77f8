"""What published standards and tools ask of a lab; run by `make test-conformance`.

Every test in this folder has the marker `conformance`, and shares one lab that is up, with the
embedded model and without a rate limit (the fixture `lab`). A table of a standard's cases is a
file of its own here; what fails on purpose is explained in the list beside it.
"""
