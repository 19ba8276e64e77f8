"""The notebook server of a lab: JupyterLab, and how one gets into it."""
