"""The release gate's judgement, pure: what a policy asks, what an answer is worth, what follows."""
