"""What a person sees of a run: the page, its figures, the contact sheet, and the submission file."""
