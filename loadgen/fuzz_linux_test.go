package loadgen

import (
	"math"
	"testing"
	"testing/fstest"
	"time"
)

// FuzzCgroup: whatever the files of control groups hold, a limit is a number above 0 or none, and what was counted is
// not negative.
func FuzzCgroup(f *testing.F) {
	for _, s := range []struct{ groups, max, stat, quota, period string }{
		{"0::/\n", "150000 100000\n", "nr_periods 40\nnr_throttled 3\n", "", ""},
		{"0::/kubepods/pod1/c1\n", "max 100000\n", "usage_usec 100\n", "", ""},
		{"2:cpu,cpuacct:/\n0::/\n", "", "nr_periods 7\nnr_throttled 7\nthrottled_time 12\n", "25000\n", "100000\n"},
		{"2:cpu:/docker/abc", "", "", "-1\n", "100000\n"},
		{"0::../..", "inf 100000", "nr_periods -1", "NaN", "0"},
		{"\n0\n0:\n0::\n1:cpu:a/../..\n", "lots", "nr_periods 99999999999999999999\n", "1e308", "1e-308"},
		{"0::/\n0::/\n", "nan nan", "nr_periods 9223372036854775807\nnr_periods 1\n", "", ""},
	} {
		f.Add(s.groups, s.max, s.stat, s.quota, s.period)
	}
	f.Fuzz(func(t *testing.T, groups, cpuMax, stat, quota, period string) {
		if len(groups) > 4096 { // longer than a path may be
			return
		}
		defer time.AfterFunc(20*time.Second, func() { panic("hangs") }).Stop()
		root := fstest.MapFS{"proc/self/cgroup": {Data: []byte(groups)}}
		for _, dir := range []string{"sys/fs/cgroup", "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"} {
			for name, text := range map[string]string{
				"cpu.max": cpuMax, "cpu.stat": stat, "cpu.cfs_quota_us": quota, "cpu.cfs_period_us": period,
			} {
				if text != "" {
					root[dir+"/"+name] = &fstest.MapFile{Data: []byte(text)}
				}
			}
		}
		got := cgroupOf(root)
		if !(got.limit >= 0) || math.IsInf(got.limit, 0) || got.periods < 0 || got.throttled < 0 {
			t.Fatalf("%+v", got)
		}
	})
}

// FuzzPorts: what is left of the ports is between none and all, and all are no more than there can be.
func FuzzPorts(f *testing.F) {
	f.Add("32768\t60999\n", "sockets: used 63\nTCP: inuse 33 orphan 0 tw 88 alloc 36 mem 0\n", 12)
	f.Add("1 0", "TCP: inuse 0 orphan 0 tw -9223372036854775808", 0)
	f.Add("-9223372036854775808 9223372036854775807", "", 0)
	f.Add("0 9223372036854775807", "TCP: inuse 1 orphan 1 tw 9223372036854775807", 9)
	f.Fuzz(func(t *testing.T, ports, sockets string, open int) {
		root := fstest.MapFS{
			"proc/sys/net/ipv4/ip_local_port_range": {Data: []byte(ports)},
			"proc/net/sockstat":                     {Data: []byte(sockets)},
		}
		if got := portsOf(root, max(0, open)); got.Left < 0 || got.Left > got.Limit || got.Limit > 1<<16 {
			t.Fatalf("%q, %q: %+v", ports, sockets, got)
		}
	})
}
