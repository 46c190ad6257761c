"""Pay per click: the unique clicks of a link and day, booked once the day is over."""
