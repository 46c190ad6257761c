"""Moving in: what a merchant brings along from the program that they ran before."""
