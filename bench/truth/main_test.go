package main

import (
	"os"
	"slices"
	"testing"
)

// The tests' program is the server's and the client's as well, as it is in the bench.
func TestMain(m *testing.M) {
	runProcess(os.Args[1:])
	os.Exit(m.Run())
}

// A client that lacks what it needs must say so: live, with server and client in a process each. A busy machine can only make
// these more unfit. That a fit client is not called unfit is for the bench, which knows how busy the machine was.
func TestUnfitClientsSaySo(t *testing.T) {
	for _, name := range []string{"starved", "stalled", "beyond"} {
		i := slices.IndexFunc(rows(), func(r row) bool { return r.Name == name })
		if i < 0 {
			t.Fatalf("no row %q", name)
		}
		r := rows()[i]
		r.Seconds = 2
		res, err := r.run("send", job{row: r, GC: defaultGC})
		if err != nil {
			t.Fatal(err)
		}
		if wrong := r.wrongVerdict(res); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
		if res.Sent == 0 || res.Reached == 0 {
			t.Errorf("%s: %d requests were sent, %d arrived", name, res.Sent, res.Reached)
		}
	}
}
