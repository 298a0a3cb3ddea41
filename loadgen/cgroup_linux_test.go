package loadgen

import (
	"testing"
	"testing/fstest"
	"time"
)

func TestCgroup(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  cgroupCPU
	}{
		"no control groups": {fstest.MapFS{}, cgroupCPU{}},
		"version 2, no limit": {fstest.MapFS{
			"proc/self/cgroup":          file("0::/\n"),
			"sys/fs/cgroup/cpu.max":     file("max 100000\n"),
			"sys/fs/cgroup/cpu.stat":    file("usage_usec 100\nnr_periods 0\nnr_throttled 0\n"),
			"sys/fs/cgroup/cgroup.type": file("domain\n"),
		}, cgroupCPU{}},
		"version 2, in a container": {fstest.MapFS{
			"proc/self/cgroup":       file("0::/\n"),
			"sys/fs/cgroup/cpu.max":  file("150000 100000\n"),
			"sys/fs/cgroup/cpu.stat": file("usage_usec 100\nnr_periods 40\nnr_throttled 3\nthrottled_usec 900\n"),
		}, cgroupCPU{1.5, 40, 3, 900 * time.Microsecond}},
		"version 2, the narrower limit lies above": {fstest.MapFS{
			"proc/self/cgroup":                        file("0::/kubepods/pod1/c1\n"),
			"sys/fs/cgroup/cpu.stat":                  file("usage_usec 100\n"),
			"sys/fs/cgroup/kubepods/cpu.max":          file("max 100000\n"),
			"sys/fs/cgroup/kubepods/pod1/cpu.max":     file("50000 100000\n"),
			"sys/fs/cgroup/kubepods/pod1/cpu.stat":    file("nr_periods 10\nnr_throttled 4\nthrottled_usec 7000\n"),
			"sys/fs/cgroup/kubepods/pod1/c1/cpu.max":  file("200000 100000\n"),
			"sys/fs/cgroup/kubepods/pod1/c1/cpu.stat": file("nr_periods 8\nnr_throttled 1\nthrottled_usec 2000\n"),
		}, cgroupCPU{0.5, 18, 5, 7 * time.Millisecond}},
		"version 1": {fstest.MapFS{
			"proc/self/cgroup": file("4:memory:/x\n2:cpu,cpuacct:/docker/abc\n0::/\n"),

			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":             file("-1\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":            file("100000\n"),
			"sys/fs/cgroup/cpu,cpuacct/docker/cpu.shares":            file("1024\n"),
			"sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us":  file("25000\n"),
			"sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": file("100000\n"),

			"sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.stat": file("nr_periods 7\nnr_throttled 7\nthrottled_time 12\n"),
		}, cgroupCPU{0.25, 7, 7, 12}},
		"version 1, the path is the host's": {fstest.MapFS{
			"proc/self/cgroup":                    file("2:cpu:/docker/abc\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":  file("300000\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": file("100000\n"),
		}, cgroupCPU{3, 0, 0, 0}},
		"not as documented": {fstest.MapFS{
			"proc/self/cgroup":       file("\n0\n0:\n0::/\n"),
			"sys/fs/cgroup/cpu.max":  file("lots\n"),
			"sys/fs/cgroup/cpu.stat": file("nr_periods\n"),
		}, cgroupCPU{}},
	} {
		if got := cgroupOf(c.files); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
