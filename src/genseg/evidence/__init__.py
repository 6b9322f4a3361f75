"""What generated pairs bring, and what more labels would, told by trainings on the user's own cases."""
