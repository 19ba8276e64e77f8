"""The checks, a module for each group or a part of one."""
