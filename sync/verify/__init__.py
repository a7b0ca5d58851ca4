"""`firstvisit verify`: whatever lies there, judged; both ends against each other, and every night."""
