"""Linear matrix inequalities and sums of squares: searched in floats, rounded to rationals, and proved by the kernel."""
