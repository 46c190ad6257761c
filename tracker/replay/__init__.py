"""History once more: under the rules it had, to see that the books follow, or under a draft's."""
