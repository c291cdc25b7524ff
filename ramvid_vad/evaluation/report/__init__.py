"""An evaluation on paper: table, files, page, plots, side-by-side videos; and two runs compared."""
