"""The parts of studies: what a study is, its cells, what is measured of them, and the report."""
