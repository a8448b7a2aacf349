"""Data sets: from a name, a file or arrays to checked, split and prepared samples."""
