"""What every page is made of: one self-contained HTML file, its style and curve, pictures with heat."""
