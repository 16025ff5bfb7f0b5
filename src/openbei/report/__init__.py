"""Reports of measurements: tables for a terminal, and self-contained HTML pages with charts and without scripts."""
