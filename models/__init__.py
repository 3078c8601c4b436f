"""Frame to cells: preprocess, segment, measure, classify. In: a Frame. Out: Cells in stage micrometres."""
