"""HTML pages: tables, figures, contact sheets and overlays."""
