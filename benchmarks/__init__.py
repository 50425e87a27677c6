"""How fast we are beside the tools that people would use instead, and beside what the machine allows."""
