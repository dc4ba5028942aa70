"""Prove: the demo, trials, gates and packets that show what the other bands promise."""
