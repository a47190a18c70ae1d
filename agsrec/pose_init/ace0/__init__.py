"""ACE0: a network learns where in the scene each pixel is, and tells from where other photos were taken."""
