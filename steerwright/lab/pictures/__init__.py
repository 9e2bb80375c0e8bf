"""Pictures in the lab: what they can be steered with, how they are drawn, and what is read off them."""
