"""What SAEBench's evaluations share on boards: which truths they ask about, at which positions, and linear probes."""
