"""How many servers a load needs, and of which size: the tables, and the search for the best fleet."""
