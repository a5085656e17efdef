// Command runc-within-limits is an OCI runtime for machines that withhold privileges from their own root user. It takes out of
// a container's specification what this process may not grant and hands the rest to runc. Where nothing is withheld, it changes
// nothing.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const capSysResource = 24

// runtimes are tried in this order; Debian installs runc in the first place, kind's node image in the second.
var runtimes = []string{"/usr/sbin/runc", "/usr/local/sbin/runc", "/usr/bin/runc"}

func main() {
	limits, err := readLimits()
	if err != nil {
		fail(err)
	}
	if limits.withheld() {
		for _, file := range specifications(os.Args[1:]) {
			if err := rewrite(file, limits); err != nil {
				fail(err)
			}
		}
	}
	for _, runtime := range runtimes {
		if _, err := os.Stat(runtime); err == nil {
			fail(syscall.Exec(runtime, append([]string{runtime}, os.Args[1:]...), os.Environ()))
		}
	}
	fail(fmt.Errorf("found no runc in %s", strings.Join(runtimes, ", ")))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "runc-within-limits:", err)
	os.Exit(1)
}

// specifications lists the files in which the runtime's arguments name a process to start.
func specifications(arguments []string) []string {
	var files []string
	add := func(flag, value string) {
		switch strings.TrimLeft(flag, "-") {
		case "bundle", "b":
			files = append(files, filepath.Join(value, "config.json"))
		case "process", "p":
			files = append(files, value)
		}
	}
	for i, argument := range arguments {
		if !strings.HasPrefix(argument, "-") {
			continue
		}
		if flag, value, joined := strings.Cut(argument, "="); joined {
			add(flag, value)
		} else if i+1 < len(arguments) {
			add(argument, arguments[i+1])
		}
	}
	return files
}

// rewrite edits a specification in place, atomically. A bundle's config.json holds the process as a member; the file of an
// exec is the process itself.
func rewrite(file string, limits limits) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var document map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // a limit of 2^64-1 does not survive a float
	if err := decoder.Decode(&document); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	process := document
	if member, ok := document["process"].(map[string]any); ok {
		process = member
	}
	limits.apply(process)
	edited, err := json.Marshal(document)
	if err != nil {
		return err
	}
	next := file + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(next, edited, 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}
