package loadgen

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// files counts the descriptors that the process may still open.
func files() Headroom {
	var l unix.Rlimit
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil || unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return Headroom{}
	}
	limit := int(min(l.Cur, math.MaxInt32))
	return Headroom{Limit: limit, Left: max(limit-len(open), 0)}
}

// ports counts the local ports that are left for connections to one server, of which the process has so many open. A
// port whose connection was closed from here is lost for a minute (TIME_WAIT).
func ports(open int) Headroom { return portsOf(os.DirFS("/"), open) }

func portsOf(root fs.FS, open int) Headroom {
	b, err := fs.ReadFile(root, "proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return Headroom{}
	}
	var first, last uint16
	if _, err := fmt.Sscan(string(b), &first, &last); err != nil || last < first {
		return Headroom{}
	}
	var waiting uint32
	if b, err := fs.ReadFile(root, "proc/net/sockstat"); err == nil {
		for line := range bytes.Lines(b) {
			var inUse, orphan uint32
			if n, _ := fmt.Sscanf(string(line), "TCP: inuse %d orphan %d tw %d", &inUse, &orphan, &waiting); n == 3 {
				break
			}
		}
	}
	limit := int(last) - int(first) + 1
	return Headroom{Limit: limit, Left: max(limit-open-int(waiting), 0)}
}
