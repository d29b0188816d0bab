"""What a search leaves on the disk, and what is read from it: the record, its directory, ranking, progress."""
