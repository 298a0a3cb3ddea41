package main

import (
	"testing"
	"testing/fstest"
)

func TestMemoryOf(t *testing.T) {
	files := func(texts ...string) fstest.MapFS {
		f := fstest.MapFS{}
		for i := 0; i < len(texts); i += 2 {
			f[texts[i]] = &fstest.MapFile{Data: []byte(texts[i+1])}
		}
		return f
	}
	const meminfo = "MemTotal:  2000 kB\nMemFree:  100 kB\nMemAvailable:    1000 kB\n"
	for _, c := range []struct {
		name   string
		root   fstest.MapFS
		bytes  float64
		source string
	}{
		{"nothing", files(), 0, ""},
		{"a machine", files("proc/meminfo", meminfo), 1024000, "MemAvailable of /proc/meminfo"},
		{"version 2, a limit above", files("proc/meminfo", meminfo, "proc/self/cgroup", "0::/a/b\n",
			"sys/fs/cgroup/a/memory.max", "500000\n", "sys/fs/cgroup/a/b/memory.max", "max\n"), 500000,
			"limit of the control group, /sys/fs/cgroup/a/memory.max"},
		{"version 2, in a container", files("proc/meminfo", meminfo, "proc/self/cgroup", "0::/host/path\n",
			"sys/fs/cgroup/memory.max", "400000\n"), 400000, "limit of the control group, /sys/fs/cgroup/memory.max"},
		{"version 1", files("proc/meminfo", meminfo, "proc/self/cgroup", "3:cpu:/x\n4:memory:/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "300000\n"), 300000,
			"limit of the control group, /sys/fs/cgroup/memory/a/memory.limit_in_bytes"},
		{"a limit that is none", files("proc/meminfo", meminfo, "proc/self/cgroup", "4:memory:/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"), 1024000,
			"MemAvailable of /proc/meminfo"},
		{"no sense", files("proc/meminfo", "MemAvailable: much\n", "proc/self/cgroup", "memory\n\n:\n"), 0,
			"MemAvailable of /proc/meminfo"},
	} {
		bytes, source := memoryOf(c.root)
		if bytes != c.bytes || source != c.source {
			t.Errorf("%s: %v (%s), want %v (%s)", c.name, bytes, source, c.bytes, c.source)
		}
	}
	if bytes, source := availableMemory(); bytes < 1e6 {
		t.Errorf("this machine has %v bytes (%s)", bytes, source)
	}
}
