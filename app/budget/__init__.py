"""A budget of minutes: what a recipe costs on this machine, and what of it fits."""
