"""What recommend knows without asking anybody: products, ownership, RF-CF, acceptance, associations, the matrix."""
