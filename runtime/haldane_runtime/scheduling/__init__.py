"""Who runs when: a bounded queue with deadlines in front of one engine thread."""
