"""Several processes give the numbers of one."""
