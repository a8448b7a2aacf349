"""What a person sees of a run while it goes on, and the table at its end."""
