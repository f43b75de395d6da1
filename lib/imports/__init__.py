"""Labels that others have made, in the forms in which they come."""
