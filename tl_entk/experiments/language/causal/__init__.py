"""Does a direction do anything? Steps along it, and models without it, beside other directions."""
