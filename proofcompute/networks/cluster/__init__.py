"""Judge the nodes of a cluster by a policy: a signed verdict with the evidence behind each line."""
