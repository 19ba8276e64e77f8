"""Reports: pages of HTML in one file, which ask nobody for anything and run no script."""
