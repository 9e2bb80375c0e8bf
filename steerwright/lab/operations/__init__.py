"""What the page does, as plain functions of a workbench: the tabs, the API and the tests call these."""
