package loadgen

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/machine"
)

// cgroupCPU is what the control groups that the process is in say about its processor time.
type cgroupCPU struct {
	// limit is how many processors' worth of time they leave it; 0 if they set no limit.
	limit float64
	// periods counts the periods (100 ms, usually) in which a group with a limit ran, throttled those in which it was
	// stopped because its share of the period was used up. Both since the group was made.
	periods, throttled int
	// stopped is for how long, summed over processors: that of the group that was stopped longest, for a container and
	// its pod have the same limit and are stopped together.
	stopped time.Duration
}

func readCgroup() cgroupCPU { return cgroupOf(os.DirFS("/")) }

// cgroupOf reads version 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max and cpu.stat) and version 1
// (https://docs.kernel.org/scheduler/sched-bwc.html). A limit holds for all groups below, so the narrowest counts.
func cgroupOf(root fs.FS) cgroupCPU {
	var found cgroupCPU
	machine.ControlGroups(root, "cpu", func(folder string) { found.add(root, folder) })
	return found
}

// add takes one group into account.
func (c *cgroupCPU) add(root fs.FS, dir string) {
	limit := 0.0
	if b, err := fs.ReadFile(root, dir+"/cpu.max"); err == nil {
		quota, period, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
		limit = quotient(quota, period) // "max" is no number
	} else if b, err := fs.ReadFile(root, dir+"/cpu.cfs_quota_us"); err == nil {
		period, _ := fs.ReadFile(root, dir+"/cpu.cfs_period_us")
		limit = quotient(strings.TrimSpace(string(b)), strings.TrimSpace(string(period))) // −1 without a limit
	}
	if limit <= 0 {
		return
	}
	if c.limit == 0 || limit < c.limit {
		c.limit = limit
	}
	b, err := fs.ReadFile(root, dir+"/cpu.stat")
	if err != nil {
		return
	}
	stopped := time.Duration(0)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(value, 10, 48)
		if err != nil {
			continue
		}
		switch name {
		case "nr_periods":
			c.periods += int(n)
		case "nr_throttled":
			c.throttled += int(n)
		case "throttled_usec":
			stopped = time.Duration(n) * time.Microsecond
		case "throttled_time": // of version 1, in nanoseconds
			stopped = time.Duration(n)
		}
	}
	c.stopped = max(c.stopped, stopped)
}

// quotient is 0 where either is not a whole number, as the kernel writes them.
func quotient(a, b string) float64 {
	x, err := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	if err != nil || err2 != nil || y <= 0 {
		return 0
	}
	return float64(x) / float64(y)
}
