module haldane.dev/e2e/cluster/withinlimits

go 1.21
