package main

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/openloop/openloop/internal/machine"
)

// availableMemory is how much memory the process may still get, in bytes, and by what; 0 if that is not known.
func availableMemory() (bytes float64, source string) { return memoryOf(os.DirFS("/")) }

// memoryOf reads what the system has (https://docs.kernel.org/filesystems/proc.html, MemAvailable) and what the control
// groups of the process allow: version 2 (memory.max) and version 1 (memory.limit_in_bytes), of all groups above it.
func memoryOf(root fs.FS) (bytes float64, source string) {
	b, _ := fs.ReadFile(root, "proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kB, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			bytes, source = 1024*kB, "MemAvailable of /proc/meminfo"
		}
	}
	machine.ControlGroups(root, "memory", func(folder string) {
		for _, file := range []string{"memory.max", "memory.limit_in_bytes"} { // of version 2 and of version 1
			name := path.Join(folder, file)
			b, _ := fs.ReadFile(root, name)
			limit, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64) // "max" is no number
			if err == nil && limit > 0 && (bytes == 0 || limit < bytes) {
				bytes, source = limit, "limit of the control group, /"+name
			}
		}
	})
	return bytes, source
}
