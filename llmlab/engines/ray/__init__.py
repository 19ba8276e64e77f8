"""Engine ``ray``: the API processes run on any number of machines, where Ray places them."""
