"""Who somebody is: the gallery searched, the decision and its grade, and the roster of staff and agents."""
