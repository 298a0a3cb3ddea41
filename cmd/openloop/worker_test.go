package main

import (
	"os"
	"testing"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/report"
)

// A stage that was run again in the place of one that lost a worker decides alone whether the client was valid.
func TestRepeatedStageIsNoFault(t *testing.T) {
	lost := report.Stage{Name: "constant@5.00", Repeated: true, Client: audit.Verdict{Level: audit.Invalid}}
	good := report.Stage{Name: "constant@5.00", Client: audit.Verdict{Level: audit.Valid}}
	bad := lost
	bad.Repeated = false
	if err := invalidStages(&report.Result{Stages: []report.Stage{lost, good}}); err != nil {
		t.Error(err)
	}
	if err := invalidStages(&report.Result{Stages: []report.Stage{lost, bad}}); err == nil {
		t.Error("a stage that lost a worker, and was not run again, is taken for valid")
	}
}

func TestJoinAddress(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for listen, want := range map[string]string{
		"[::]:4222": host + ":4222", "0.0.0.0:4222": host + ":4222", "127.0.0.1:4222": "127.0.0.1:4222",
		"[::1]:4222": "[::1]:4222",
	} {
		if got := joinAddress(listen); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}
