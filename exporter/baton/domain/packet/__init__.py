"""The evidence packet, pure: what lies where, what is whole, and every verdict judged again."""
