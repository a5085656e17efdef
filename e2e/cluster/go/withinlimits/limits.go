package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// limits is what this process may grant to a container.
type limits struct {
	bounding uint64 // bit n is set when capability number n may be granted
	oomScore int    // the lowest OOM score adjustment that may be set without CAP_SYS_RESOURCE
}

// capabilities in the order of their numbers in the kernel's capability.h.
var capabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
	"SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
	"SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
	"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

func readLimits() (limits, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return limits{}, err
	}
	var found limits
	for _, line := range strings.Split(string(status), "\n") {
		if value, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			if found.bounding, err = strconv.ParseUint(strings.TrimSpace(value), 16, 64); err != nil {
				return limits{}, fmt.Errorf("CapBnd of /proc/self/status: %w", err)
			}
		}
	}
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return limits{}, err
	}
	found.oomScore, err = strconv.Atoi(strings.TrimSpace(string(score)))
	return found, err
}

func (l limits) has(number int) bool { return l.bounding&(1<<number) != 0 }

// withheld tells whether any capability is missing.
func (l limits) withheld() bool {
	for number := range capabilities {
		if !l.has(number) {
			return true
		}
	}
	return false
}

// apply edits an OCI process object: https://github.com/opencontainers/runtime-spec/blob/main/config.md#process
func (l limits) apply(process map[string]any) {
	missing := map[string]bool{}
	for number, name := range capabilities {
		missing["CAP_"+name] = !l.has(number)
	}
	if sets, ok := process["capabilities"].(map[string]any); ok {
		for name, set := range sets {
			if members, ok := set.([]any); ok {
				sets[name] = without(members, missing)
			}
		}
	}
	if l.has(capSysResource) {
		return
	}
	if score, ok := process["oomScoreAdj"].(json.Number); ok {
		if value, err := score.Int64(); err == nil && int(value) < l.oomScore {
			process["oomScoreAdj"] = l.oomScore
		}
	}
	// Without CAP_SYS_RESOURCE a hard limit may only go down; inheriting ours is the nearest to what was asked for.
	if resources, ok := process["rlimits"].([]any); ok {
		process["rlimits"] = lowered(resources, hardLimits)
	}
}

func without(members []any, missing map[string]bool) []any {
	kept := []any{}
	for _, member := range members {
		if name, ok := member.(string); !ok || !missing[name] {
			kept = append(kept, member)
		}
	}
	return kept
}

// hardLimits are the resources whose numbers are the same on every architecture that Go supports on Linux.
func hardLimits(resource string) (uint64, bool) {
	numbers := map[string]int{"RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_AS": 9}
	number, known := numbers[resource]
	if resource == "RLIMIT_NOFILE" {
		number, known = syscall.RLIMIT_NOFILE, true
	}
	var limit syscall.Rlimit
	if !known || syscall.Getrlimit(number, &limit) != nil {
		return 0, false
	}
	return limit.Max, true
}

// lowered keeps the limits that this process may set, cut to its own hard limit.
func lowered(resources []any, hard func(string) (uint64, bool)) []any {
	kept := []any{}
	for _, entry := range resources {
		resource, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		name, _ := resource["type"].(string)
		most, known := hard(name)
		if !known {
			continue
		}
		for _, bound := range []string{"hard", "soft"} {
			asked, _ := resource[bound].(json.Number)
			if value, err := strconv.ParseUint(asked.String(), 10, 64); err == nil && value > most {
				resource[bound] = most
			}
		}
		kept = append(kept, resource)
	}
	return kept
}
