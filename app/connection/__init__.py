"""Connection state: who is silent, judged by observed time alone."""
