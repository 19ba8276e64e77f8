"""A lab as Kubernetes manifests: plain files, laid out as a kustomize base.

Nothing here talks to a cluster. What is written is checked against Kubernetes' schemas by the
tests, and was run by nobody: whoever applies it is the first.
"""
