"""What each part of a recipe brings. `parts` needs the standard library only."""
