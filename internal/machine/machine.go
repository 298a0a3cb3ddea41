// Package machine reads what the system says of itself: its control groups, and how busy it is.
package machine

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// ControlGroups calls visit with the folder of each control group that the process is in and that has a say about the
// controller ("cpu", "memory"), the innermost first: of version 2
// (https://docs.kernel.org/admin-guide/cgroup-v2.html) and of version 1, below their usual mount point. A limit holds
// for all groups below it. In a container the path may be that of the host: where it does not exist, its end is left
// out until it does, so that some of the folders may not exist.
func ControlGroups(root fs.FS, controller string, visit func(folder string)) {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":") // hierarchy:controllers:path
		controllers, group, ok := strings.Cut(rest, ":")
		if !ok || controllers != "" && !slices.Contains(strings.Split(controllers, ","), controller) {
			continue
		}
		for mount := path.Join("sys/fs/cgroup", controllers); ; group = path.Dir(group) {
			visit(path.Join(mount, group))
			if group == "/" || group == "." {
				break
			}
		}
	}
}

// BusyTime is the processor time that all processes of the machine have used, and what the hypervisor gave to other
// machines (steal), in seconds; 0 where it can't be read.
func BusyTime() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, iowait, irq, softirq, steal float64
	_, err = fmt.Sscanf(string(b), "cpu %g %g %g %g %g %g %g %g",
		&user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal)
	if err != nil {
		return 0
	}
	return (user + nice + system + irq + softirq + steal) / 100 // USER_HZ is 100 on every Linux
}
