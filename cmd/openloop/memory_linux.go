package main

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// availableMemory is how much memory the process may still get, in bytes, and by what; 0 if that is not known.
func availableMemory() (bytes float64, source string) { return memoryOf(os.DirFS("/")) }

// memoryOf reads what the system has (https://docs.kernel.org/filesystems/proc.html, MemAvailable) and what the control
// groups of the process allow: version 2 (memory.max) and version 1 (memory.limit_in_bytes), of all groups above it. In
// a container the path may be that of the host: where it does not exist, its end is left out until it does.
func memoryOf(root fs.FS) (bytes float64, source string) {
	b, _ := fs.ReadFile(root, "proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kB, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			bytes, source = 1024*kB, "MemAvailable of /proc/meminfo"
		}
	}
	b, _ = fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":") // hierarchy:controllers:path
		controllers, group, ok := strings.Cut(rest, ":")
		mount, file := "sys/fs/cgroup", "memory.max"
		switch {
		case !ok:
			continue
		case slices.Contains(strings.Split(controllers, ","), "memory"):
			mount, file = mount+"/memory", "memory.limit_in_bytes"
		case controllers != "":
			continue
		}
		for ; ; group = path.Dir(group) {
			name := path.Join(mount, group, file)
			b, _ := fs.ReadFile(root, name)
			limit, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64) // "max" is no number
			if err == nil && limit > 0 && (bytes == 0 || limit < bytes) {
				bytes, source = limit, "limit of the control group, /"+name
			}
			if group == "/" || group == "." {
				break
			}
		}
	}
	return bytes, source
}
