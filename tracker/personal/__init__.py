"""Personal data of all packages: a person takes theirs away, is erased; a buyer is erased."""
