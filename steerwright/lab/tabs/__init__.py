"""The tabs of the page, each a function of the workbench and of what the tabs share."""
