"""The lab's drawings: SVG and tables of our own that follow the page's theme and ask for nothing from outside."""
