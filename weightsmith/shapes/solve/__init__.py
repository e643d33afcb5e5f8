"""A page read backwards: from sizes, presence and lists to the values of fields, and forwards again as the check."""
